// Asks the native API. An answer is its JSON; anything else is an error that says what happened and what to do.

import { learnTime } from "./server-clock.js";

const STORED_AS = "tidegate-key";

/** An ordinary answer is there within milliseconds; those that ask a database say how long they may take. */
const PATIENCE_MS = 15_000;

/** The server refused, and said why. */
export class Refused extends Error {
  constructor(status, problem) {
    super(problem.detail ?? `the server answered ${status}`);
    this.status = status;
    this.code = problem.code ?? `http_${status}`;
    this.object = problem.object ?? null;
    this.hint = problem.hint ?? null;
  }
}

/** There was no answer at all. */
export class Unreachable extends Error {}

/** The key of this browser tab, or null. */
export function key() {
  try {
    return sessionStorage.getItem(STORED_AS);
  } catch {
    return null;
  }
}

/** Keeps a key until the tab is closed; null forgets it. */
export function setKey(value) {
  try {
    if (value) sessionStorage.setItem(STORED_AS, value);
    else sessionStorage.removeItem(STORED_AS);
  } catch {
    // Without storage the key is asked for again.
  }
}

/** One request; `body` is sent as JSON. */
export async function ask(method, path, body, patienceMs = PATIENCE_MS) {
  const headers = { accept: "application/json" };
  const known = key();
  if (known) headers.authorization = `Bearer ${known}`;
  if (body !== undefined) headers["content-type"] = "application/json";
  let response;
  let text;
  try {
    response = await fetch(path, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      cache: "no-store",
      credentials: "omit",
      signal: AbortSignal.timeout(patienceMs),
    });
    text = await response.text();
  } catch (error) {
    throw new Unreachable(error.name === "TimeoutError" ? `no answer within ${patienceMs / 1000} s` : "no connection");
  }
  learnTime(response.headers.get("date"));
  const answer = parsed(text);
  if (response.ok) return answer;
  throw new Refused(response.status, answer ?? {});
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** `GET path`. */
export function read(path) {
  return ask("GET", path);
}

/** The path of a task, and of what lies below it. */
export function taskPath(name, below = "") {
  return `/v1/tasks/${encodeURIComponent(name)}${below}`;
}
