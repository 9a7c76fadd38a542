// What can be done with a task: start, stop, resume, load everything again, and its bounds.

import { ask, taskPath } from "./api.js";
import { confirmed } from "./dialog.js";
import { attr, el, field, section, show } from "./dom.js";
import { LAG_SECONDS_DEFAULT } from "./state.js";

const STARTABLE = ["created", "stopped", "failed"];
const STOPPABLE = ["starting", "running"];

export class TaskActions {
  constructor(name, notice) {
    Object.assign(this, { name, notice, stoppable: false });
    this.start = this.button("Start", "primary", () => this.ask("start", "Asking for the start", "The task will start."));
    this.resume = this.button("Resume", "primary", () => this.ask("resume", "Asking to go on", "The task will go on from its checkpoint."));
    this.stop = this.button("Stop", "", () => this.stoppable && this.ask("stop", "Asking for the stop", "The task will stop after the group that is under way; it keeps its place."));
    this.reload = this.button("Load everything again…", "", () => this.loadAgain());
    this.node = el("div", { class: "buttons", role: "group", "aria-label": "Actions" }, this.start, this.resume, this.stop, this.reload);
  }

  button(words, kind, onclick) {
    return el("button", { type: "button", class: kind, onclick, hidden: true }, words);
  }

  update(task) {
    const focused = this.node.contains(document.activeElement);
    const startable = STARTABLE.includes(task.status);
    show(this.start, task.status === "created");
    show(this.resume, startable && task.status !== "created");
    show(this.stop, !startable);
    // Not `disabled`: the button was just used, and a disabled one loses the focus.
    this.stoppable = STOPPABLE.includes(task.status);
    attr(this.stop, "aria-disabled", this.stoppable ? null : "true");
    show(this.reload, startable && task.status !== "created" && task.migration_type !== "cdc");
    // The button that was used may be gone: the one that took its place gets the focus.
    const now = document.activeElement;
    if (focused && (now.hidden || !this.node.contains(now))) this.node.querySelector("button:not([hidden]):not([disabled])")?.focus();
  }

  ask(action, words, done) {
    return this.notice.during(words, async () => {
      await ask("POST", taskPath(this.name, `/${action}`));
      return done;
    });
  }

  async loadAgain() {
    const text = "The task starts over: it gives up its place in the source's log, prepares the target tables as its definition says, and copies every row again.";
    if (await confirmed(`Load all tables of ${this.name} again?`, text, "Load everything again")) {
      await this.ask("reload", "Asking for the reload", "The task will load all tables again.");
    }
  }
}

/** The form of a task's bounds; what the user is typing is never overwritten. */
export class BoundsForm {
  constructor(name, notice) {
    Object.assign(this, { name, notice, dirty: false });
    const number = (min, max, required) => el("input", { type: "number", min, max, step: 1, required, inputmode: "numeric", oninput: () => this.touch(true) });
    this.least = number(0, 1024, true);
    this.most = number(1, 1024, true);
    this.lag = number(1, 86400, false);
    this.lag.placeholder = String(LAG_SECONDS_DEFAULT);
    this.save = el("button", { type: "submit", class: "primary", disabled: true }, "Save bounds");
    this.undo = el("button", { type: "button", disabled: true, onclick: () => this.touch(false) }, "Undo");
    const panel = section("Bounds");
    this.node = panel.node;
    const form = el(
      "form",
      {
        class: "bounds",
        onsubmit: (event) => {
          event.preventDefault();
          this.send();
        },
      },
      field("Fewest units", this.least),
      field("Most units", this.most),
      field("Longest lag, seconds", this.lag, `Empty: ${LAG_SECONDS_DEFAULT} s.`),
      el("div", { class: "buttons" }, this.save, this.undo),
    );
    panel.body.append(el("p", { class: "hint" }, "A unit is one lane that loads or applies. With zero as the fewest, an idle task sleeps until its next change. A running task obeys new bounds within a few seconds."), form);
  }

  update(task) {
    this.task = task;
    if (this.dirty) return;
    this.least.value = task.min_units;
    this.most.value = task.max_units;
    this.lag.value = task.max_lag_seconds ?? "";
  }

  touch(dirty) {
    this.dirty = dirty;
    attr(this.save, "disabled", !dirty);
    attr(this.undo, "disabled", !dirty);
    if (!dirty && this.task) this.update(this.task);
  }

  send() {
    const bounds = {
      min_units: Number(this.least.value),
      max_units: Number(this.most.value),
      max_lag_seconds: this.lag.value === "" ? null : Number(this.lag.value),
    };
    return this.notice.during("Saving the bounds", async () => {
      const task = await ask("PATCH", taskPath(this.name), bounds);
      this.task = task;
      this.least.focus({ preventScroll: true });
      this.touch(false);
      return "The bounds are saved.";
    });
  }
}
