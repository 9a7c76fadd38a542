// The frame around the pages: which page the address names, whether the server answers, and the colours.

import { Refused, Unreachable, read, key } from "./api.js";
import { askKey } from "./dialog.js";
import { attr, el, put, replace, show } from "./dom.js";
import { clock, moment, seconds } from "./format.js";
import { fleetPage } from "./fleet.js";
import { Loop, announce, tickStamps } from "./live.js";
import { taskPage } from "./task.js";

const main = document.getElementById("main");
const banner = document.getElementById("banner");
const pulse = document.getElementById("pulse");
const server = document.getElementById("server");

let loop = null;
let version = null;
/** When the server answered last, milliseconds; null before the first answer. */
let answeredAt = null;
let silent = false;

/** `#/tasks/NAME` is a task, everything else the fleet. */
function open() {
  const [path] = location.hash.slice(1).split("?");
  const found = /^\/tasks\/([^/]+)$/.exec(path);
  const page = found ? taskPage(decodeURIComponent(found[1])) : fleetPage();
  loop?.close();
  replace(main, page.node);
  document.title = `${page.title} – Tidegate`;
  scrollTo(0, 0);
  const mine = new Loop(() => page.refresh(), page.intervalMs, heard);
  page.refreshNow = () => mine.now();
  loop = mine;
}

function heard(error, pauseMs) {
  if (!(error instanceof Unreachable)) {
    answeredAt = Date.now();
    learnVersion();
  }
  if (error === null) {
    if (silent) announce("The server answers again.");
    silent = false;
    attr(document.body, "data-stale", null);
    attr(pulse, "data-state", "live");
    put(server, "live");
    show(banner, false);
    return;
  }
  attr(pulse, "data-state", "down");
  if (error instanceof Refused && error.status === 401) {
    put(server, "key wanted");
    askKey(key() !== null, () => loop.now());
    return;
  }
  silent = true;
  attr(document.body, "data-stale", true);
  put(server, error instanceof Unreachable ? "no answer" : "error");
  say(error, pauseMs);
}

/** One banner, whose words change only when the trouble does: it is read aloud. */
function say(error, pauseMs) {
  const since = answeredAt ? `Since ${clock(answeredAt * 1000)} the` : "The";
  const [title, hint] = error instanceof Unreachable
    ? [`${since} server does not answer (${error.message}).`, answeredAt
      ? `What you see is from ${moment(answeredAt * 1000)}. The page asks again by itself, every ${seconds(pauseMs / 1000)} at the moment.`
      : "See that tidegate serve runs and that this address is its own. The page asks again by itself."]
    : error instanceof Refused
      ? [`The server could not answer: ${error.message} (${error.code}).`, error.hint ?? "The page asks again by itself."]
      : ["The page met a fault of its own.", String(error.message)];
  if (!(error instanceof Unreachable) && !(error instanceof Refused)) console.error(error);
  show(banner, true);
  if (banner.firstChild?.textContent !== title) replace(banner, el("strong", {}, title), " ", el("span", {}, hint));
  else put(banner.lastChild, hint);
}

async function learnVersion() {
  if (version !== null) return;
  version = "";
  try {
    version = (await read("/healthz")).version;
    put(document.getElementById("version"), version);
  } catch {
    version = null;
  }
}

const COLOURS = ["system", "light", "dark"];

function colours() {
  const button = document.getElementById("theme");
  const chosen = () => document.documentElement.dataset.theme ?? "system";
  const tell = () => put(button, `Colours: ${chosen()}`);
  button.addEventListener("click", () => {
    const next = COLOURS[(COLOURS.indexOf(chosen()) + 1) % COLOURS.length];
    if (next === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = next;
    try {
      localStorage.setItem("tidegate-colours", next);
    } catch {
      // Kept for this visit only.
    }
    tell();
    announce(`Colours: ${next}`);
  });
  tell();
}

function skipLink() {
  document.getElementById("skip").addEventListener("click", (event) => {
    // The address names the page; the content is a place on it.
    event.preventDefault();
    main.focus();
  });
}

function second() {
  tickStamps();
  put(document.getElementById("clock"), `Times are of this browser: ${moment(Date.now() * 1000)}`);
}

colours();
skipLink();
second();
setInterval(second, 1000);
addEventListener("hashchange", () => {
  open();
  main.focus();
});
open();
