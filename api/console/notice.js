// The outcome of what the user asked for: said once, kept on the page until the next.

import { Refused } from "./api.js";
import { attr, el, put, replace, show } from "./dom.js";
import { announce } from "./live.js";
import { sentence } from "./format.js";

export class Notice {
  /** `after()` is called when an action has ended, well or not. */
  constructor(after) {
    this.after = after;
    this.node = el("div", { class: "notice", hidden: true });
    this.busy = false;
  }

  /** Shows that something is under way, then what came of it: the words that `work` answers, or why it failed. */
  async during(words, work) {
    if (this.busy) return;
    this.busy = true;
    this.say("busy", `${words}…`);
    try {
      const done = await work();
      this.say("good", done);
      announce(done);
    } catch (error) {
      this.fail(error);
    }
    this.busy = false;
    this.after();
  }

  say(kind, words) {
    attr(this.node, "role", null);
    attr(this.node, "data-kind", kind);
    replace(this.node, el("p", {}, words));
    show(this.node, true);
  }

  fail(error) {
    attr(this.node, "role", "alert");
    attr(this.node, "data-kind", "bad");
    const refused = error instanceof Refused;
    replace(this.node, trouble({ message: refused ? error.message : `The server did not answer: ${error.message}`, code: refused ? error.code : null, hint: error.hint }));
    show(this.node, true);
  }
}

/** A failure with its code and its hint. */
export function trouble({ message, code, hint }) {
  const box = el("div", { class: "failure" }, el("p", {}, sentence(message), " ", code ? el("code", {}, code) : null));
  if (hint) box.append(el("p", { class: "help" }, el("strong", {}, "What helps: "), hint));
  return box;
}

/** A message that stays in place and changes only when its words do. */
export class Trouble {
  constructor() {
    this.node = el("div", { class: "notice", "data-kind": "bad", hidden: true });
    this.key = "";
  }

  set(failure) {
    const key = failure ? JSON.stringify(failure) : "";
    if (key === this.key) return;
    this.key = key;
    show(this.node, Boolean(failure));
    if (failure) replace(this.node, trouble(failure));
    else put(this.node, "");
  }
}
