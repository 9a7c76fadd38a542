// What keeps a page current: the loop that asks again, and words for those who do not see the screen.

import { put } from "./dom.js";
import { ago, moment } from "./format.js";

/** Says something politely: changes of state and the outcome of actions, never figures that move all the time. */
export function announce(text) {
  const place = document.getElementById("announcer");
  // The same words twice are said twice only if the text changes in between.
  place.textContent = "";
  setTimeout(() => put(place, text), 50);
}

/** Longest pause while the server does not answer. */
const PAUSE_MS_MAX = 10_000;

/**
 * Calls `refresh` again and again: `intervalMs` after the last end, later when answers are slow, not at all while the page is hidden.
 * `outcome(null | error, nextMs)` hears how each went.
 */
export class Loop {
  constructor(refresh, intervalMs, outcome) {
    Object.assign(this, { refresh, intervalMs, outcome, failures: 0, timer: null, busy: false, again: false, closed: false });
    this.onVisible = () => document.hidden || this.now();
    document.addEventListener("visibilitychange", this.onVisible);
    this.now();
  }

  /** Asks at once; while a question is under way, right after it. */
  async now() {
    if (this.closed) return;
    if (this.busy) {
      this.again = true;
      return;
    }
    clearTimeout(this.timer);
    this.busy = true;
    const since = performance.now();
    let error = null;
    try {
      await this.refresh();
    } catch (caught) {
      error = caught;
    }
    this.busy = false;
    if (this.closed) return;
    this.failures = error ? this.failures + 1 : 0;
    const slow = 4 * (performance.now() - since);
    const pause = error ? Math.min(PAUSE_MS_MAX, this.intervalMs * 2 ** (this.failures - 1)) : Math.max(this.intervalMs, slow);
    this.outcome(error, pause);
    if (this.again) {
      this.again = false;
      this.now();
    } else if (!document.hidden) {
      this.timer = setTimeout(() => this.now(), pause);
    }
  }

  close() {
    this.closed = true;
    clearTimeout(this.timer);
    document.removeEventListener("visibilitychange", this.onVisible);
  }
}

/** Fills a `<time>` with how long ago something was; the absolute time is its title. */
export function stamp(node, us) {
  if (!us) {
    put(node, "–");
    return;
  }
  node.dateTime = new Date(us / 1000).toISOString();
  node.title = moment(us);
  node.dataset.us = us;
  put(node, ago(us));
}

/** Lets every relative time on the page grow older. */
export function tickStamps() {
  for (const node of document.querySelectorAll("time[data-us]")) put(node, ago(Number(node.dataset.us)));
}
