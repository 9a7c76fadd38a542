// Rows that the task rejected. They lie in the target's error table, so they are read when somebody asks and not with every poll.

import { ask, taskPath } from "./api.js";
import { attr, cell, el, keyed, put, row, rowHead, section, show, table } from "./dom.js";
import { count, counted } from "./format.js";
import { stamp } from "./live.js";
import { isRunning } from "./state.js";

/** The host reads the target, which may be far away. */
const LIST_MS = 40_000;

const PAGE = 50;

export class RowErrorsPanel {
  constructor(name, notice) {
    Object.assign(this, { name, notice, errors: [], next: 0, asked: false });
    this.list = el("button", { type: "button", onclick: () => this.ask(true) }, "List row errors");
    this.replay = el("button", { type: "button", onclick: () => this.again() }, "Replay");
    const panel = section("Row errors", this.list, this.replay);
    this.node = panel.node;
    this.said = el("p", { class: "found", role: "status" });
    this.rows = table("Row errors", [["Table and key"], ["Operation"], ["Error"], ["Times", "number"], ["Last"]]);
    this.more = el("button", { type: "button", onclick: () => this.ask(false) }, "Show more");
    panel.body.append(this.said, this.rows.node, this.more);
    this.draw();
  }

  update(task) {
    this.task = task;
    attr(this.replay, "disabled", !isRunning(task));
    if (!this.asked) put(this.said, `${counted(task.progress?.rows_rejected ?? 0, "row was", "rows were")} rejected in this run. The list is kept in the target.`);
  }

  async ask(anew) {
    await this.notice.during("Reading the target's error table", async () => {
      const after = anew ? 0 : this.next;
      const answer = await ask("GET", taskPath(this.name, `/errors?after=${after}&limit=${PAGE}`), undefined, LIST_MS);
      this.errors = anew ? answer.errors : [...this.errors, ...answer.errors];
      this.next = answer.next;
      this.asked = true;
      this.draw();
      return this.errors.length === 0 ? "The error table has no entry of this task." : `${counted(this.errors.length, "row error")} listed.`;
    });
  }

  async again() {
    await this.notice.during("Replaying rejected rows", async () => {
      const counts = await ask("POST", taskPath(this.name, "/errors/replay"), {}, LIST_MS);
      return `${count(counts.replayed)} replayed, ${count(counts.rejected)} rejected again, ${count(counts.left)} left.`;
    });
    if (this.asked) await this.ask(true);
  }

  draw() {
    keyed(this.rows.body, this.errors, (entry) => entry.number, errorRow);
    show(this.rows.node, this.errors.length > 0);
    show(this.more, Boolean(this.next));
    if (this.asked) put(this.said, this.errors.length === 0 ? "The error table has no entry of this task." : `${counted(this.errors.length, "entry", "entries")}${this.next ? ", and more" : ""}`);
  }
}

function errorRow() {
  const [name, key, operation, place, message, times] = Array.from({ length: 6 }, () => el("span"));
  const code = el("code");
  const at = el("time");
  attr(name, "class", "long");
  attr(key, "class", "way long");
  attr(place, "class", "more long");
  const node = row(rowHead("name", name, key), cell("Operation", "", operation, " ", place), cell("Error", "wide", message, " ", code), cell("Times", "number", times), cell("Last", "", at));
  return {
    node,
    update(entry) {
      put(name, `${entry.schema}.${entry.table}`);
      put(key, entry.key === null ? "no key" : JSON.stringify(entry.key));
      put(operation, entry.operation);
      put(place, entry.position ?? "");
      put(message, entry.message);
      put(code, entry.module ? `${entry.code}, module ${entry.module}` : entry.code);
      put(times, count(entry.times));
      stamp(at, entry.at_us);
    },
  };
}
