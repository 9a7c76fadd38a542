// What a task is doing, in words and a mark; and what of it needs somebody.

import { el, put, attr } from "./dom.js";
import { known } from "./format.js";
import { nowUs } from "./server-clock.js";

/** Tidegate's objective for a task that names none, seconds; documented in docs/capacity.md. */
export const LAG_SECONDS_DEFAULT = 30;

/** Numbers of a running task older than this are told to be old. */
const FRESH_US = 15_000_000;

const PHASES = {
  preparing: "preparing",
  loading: "loading",
  "catching-up": "catching up",
  replicating: "replicating",
};

/** Words for the state: the phase while it runs. */
export function stateWords(task) {
  if (isAsleep(task)) return "asleep";
  if (task.status === "running") return PHASES[task.phase] ?? task.phase ?? "running";
  if (task.status === "stopped" && task.stop_reason === "full-load-finished") return "load finished";
  return task.status === "created" ? "not started" : task.status;
}

/** How it looks: good, busy, calm, bad. */
export function stateKind(task) {
  switch (task.status) {
    case "running":
      return task.phase === "replicating" ? "good" : "busy";
    case "starting":
    case "stopping":
    case "deleting":
      return "busy";
    case "failed":
      return "bad";
    default:
      return "calm";
  }
}

/** True for a task at zero units: it follows its source and wakes with the first change. */
function isAsleep(task) {
  return task.status === "running" && task.phase === "replicating" && task.progress?.units === 0;
}

/** The longest lag that is all right for a task, seconds. */
export function objective(task) {
  return task.max_lag_seconds ?? LAG_SECONDS_DEFAULT;
}

/** True while a worker runs the task and tells how it is. */
export function isRunning(task) {
  return task.status === "running";
}

/** True when a running task is further behind than its owner allows. */
export function isBehind(task) {
  return isRunning(task) && known(task.progress?.lag_seconds) && task.progress.lag_seconds > objective(task);
}

/** Age of a running task's numbers in seconds when they are too old to be believed, else null. */
export function staleSeconds(task, now = nowUs()) {
  const at = task.progress?.at_us;
  return isRunning(task) && at && now - at > FRESH_US ? Math.round((now - at) / 1e6) : null;
}

/** What needs somebody first: 0 failed, 1 behind, 2 without fresh numbers, 3 the others. */
export function urgency(task) {
  if (task.status === "failed") return 0;
  if (isBehind(task)) return 1;
  return staleSeconds(task) === null ? 3 : 2;
}

const MARKS = { good: "●", busy: "◐", calm: "○", bad: "▲" };

/** A badge with a mark and words, so that colour is not all that tells. */
export function badge() {
  const mark = el("span", { "aria-hidden": "true", class: "mark" });
  const words = el("span");
  const node = el("span", { class: "badge" }, mark, words);
  return {
    node,
    set(kind, text) {
      attr(node, "data-kind", kind);
      put(mark, MARKS[kind]);
      put(words, text);
    },
  };
}
