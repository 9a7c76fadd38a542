// A task's tables: stage, load, what was applied; and which are to be loaded again.

import { ask, read, taskPath } from "./api.js";
import { confirmed } from "./dialog.js";
import { attr, cell, el, keyed, put, row, rowHead, section, show, table } from "./dom.js";
import { count, counted, seconds } from "./format.js";
import { Listing } from "./listing.js";
import { badge, isRunning } from "./state.js";

const GROUPS = [["all", "all tables"], ["loading", "loading"], ["before-load", "not loaded yet"], ["completed", "loaded"], ["failed", "out of the task"], ["left-out", "left out"], ["rejected", "with rejected rows"]];
const STAGES = { "before-load": ["calm", "waiting"], loading: ["busy", "loading"], completed: ["good", "loaded"], failed: ["bad", "out of the task"], "left-out": ["calm", "new, left out"] };

/** A reload is answered when the worker has taken note of it. */
const RELOAD_MS = 40_000;

const fullName = (item) => `${item.schema}.${item.table}`;
const keyOf = (item) => JSON.stringify([item.schema, item.table]);

export class TablesPanel {
  /** `notice` shows the outcome of an action. */
  constructor(name, notice) {
    Object.assign(this, { name, notice, tables: [], chosen: new Map(), running: false });
    this.reload = el("button", { type: "button", onclick: () => this.loadAgain() }, "Load again…");
    const panel = section("Tables", this.reload);
    this.node = panel.node;
    this.whole = el("progress", { max: 1, "aria-label": "Rows loaded of all tables" });
    this.wholeSaid = el("p", { class: "found" });
    this.rows = table("Tables", [["Table"], ["Stage"], ["Load"], ["Applied changes", "number"], ["Rejected", "number"]], "tables");
    this.none = el("p", { class: "empty" });
    this.listing = new Listing({
      noun: "tables",
      matches: (item, text) => [fullName(item), `${item.target_schema}.${item.target_table}`].some((words) => words.toLowerCase().includes(text)),
      groups: GROUPS,
      belongs: (item, group) => group === "all" || (group === "rejected" ? item.rejected > 0 : item.stage === group),
      changed: () => this.draw(),
    });
    panel.body.append(el("div", { class: "whole" }, this.wholeSaid, this.whole), this.listing.tools, this.listing.said, this.rows.node, this.none, this.listing.pager);
    this.draw();
  }

  async refresh(task) {
    this.running = isRunning(task) && task.migration_type !== "full-load";
    const answer = await read(taskPath(this.name, "/tables"));
    this.tables = answer.tables;
    const known = new Set(this.tables.map(keyOf));
    for (const key of this.chosen.keys()) if (!known.has(key)) this.chosen.delete(key);
    const loaded = this.tables.filter((item) => item.stage === "completed").length;
    // A loaded table has all its rows, whatever its estimate was.
    const rows = this.tables.map((item) => [item.rows_loaded, item.stage === "completed" ? item.rows_loaded : Math.max(item.rows_estimate, item.rows_loaded)]);
    const [done, total] = rows.reduce(([one, two], [more, most]) => [one + more, two + most], [0, 0]);
    put(this.wholeSaid, `${count(loaded)} of ${counted(this.tables.length, "table")} loaded, ${count(done)} of about ${count(total)} rows`);
    this.whole.value = loaded === this.tables.length ? 1 : total > 0 ? done / total : 0;
    show(this.whole.parentElement, this.tables.length > 0 && loaded < this.tables.length);
    this.draw();
  }

  draw() {
    const shown = this.listing.pick(this.tables);
    keyed(this.rows.body, shown, keyOf, (item) => this.row(item));
    show(this.rows.node, shown.length > 0);
    show(this.none, shown.length === 0);
    put(this.none, this.tables.length === 0 ? "The tables are listed when the task has started." : "No table is like this. Clear the filter to see all.");
    show(this.listing.tools, this.tables.length > 0);
    show(this.listing.said, this.tables.length > 0);
    attr(this.reload, "disabled", this.chosen.size === 0 || !this.running);
    put(this.reload, this.chosen.size > 0 ? `Load ${counted(this.chosen.size, "table")} again…` : "Load again…");
    attr(this.reload, "title", this.running ? "Choose tables by their boxes" : "Tables can be loaded again while the task runs and follows the log");
  }

  row(item) {
    const box = el("input", { type: "checkbox", onchange: () => this.choose(item, box.checked) });
    const name = el("span", { class: "long" });
    const target = el("span", { class: "way long" });
    const trouble = el("p", { class: "trouble" });
    const stage = badge();
    const bar = el("progress", { max: 1 });
    const load = el("span");
    const loadMore = el("span", { class: "more" });
    const applied = [el("span", { title: "inserts" }), el("span", { title: "updates" }), el("span", { title: "deletes" })];
    const rejected = el("span");
    const node = row(
      rowHead("name", el("label", { class: "pick" }, box, name), target, trouble),
      cell("Stage", "", stage.node),
      cell("Load", "load", bar, load, " ", loadMore),
      cell("Applied changes", "number applied", applied),
      cell("Rejected", "number", rejected),
    );
    return {
      node,
      update: (now) => {
        put(name, fullName(now));
        box.checked = this.chosen.has(keyOf(now));
        const moved = now.target_table && (now.target_table !== now.table || now.target_schema !== now.schema);
        put(target, moved ? `→ ${now.target_schema}.${now.target_table}` : "");
        put(trouble, now.failure ?? "");
        show(trouble, Boolean(now.failure));
        stage.set(...(STAGES[now.stage] ?? ["calm", now.stage]));
        const loading = now.stage === "loading";
        show(bar, loading);
        if (loading) {
          bar.value = now.chunks_total > 0 ? now.chunks_loaded / now.chunks_total : 0;
          attr(bar, "aria-label", `Load of ${fullName(now)}`);
        }
        const about = loading && now.rows_estimate > now.rows_loaded ? ` of about ${count(now.rows_estimate)}` : "";
        put(load, now.load_started_us || now.rows_loaded > 0 ? `${count(now.rows_loaded)}${about} rows` : "–");
        put(loadMore, now.load_started_us && now.load_ended_us ? `in ${seconds((now.load_ended_us - now.load_started_us) / 1e6)}` : loading ? `${count(now.chunks_loaded)} of ${counted(now.chunks_total, "chunk")}` : "");
        [["applied_inserts", "inserted"], ["applied_updates", "updated"], ["applied_deletes", "deleted"]].forEach(([key, words], index) => put(applied[index], `${count(now[key])} ${words}`));
        put(rejected, count(now.rejected));
        attr(node, "data-kind", now.stage === "failed" ? "bad" : now.rejected > 0 ? "warn" : null);
      },
    };
  }

  choose(item, chosen) {
    if (chosen) this.chosen.set(keyOf(item), { schema: item.schema, table: item.table });
    else this.chosen.delete(keyOf(item));
    this.draw();
  }

  async loadAgain() {
    const tables = [...this.chosen.values()];
    const names = tables.slice(0, 5).map(fullName).join(", ") + (tables.length > 5 ? ` and ${tables.length - 5} more` : "");
    const text = `${names}: the rows in the target are replaced by a fresh copy while the stream of the other tables goes on.`;
    if (!(await confirmed(`Load ${counted(tables.length, "table")} again?`, text, "Load again"))) return;
    await this.notice.during("Asking for the reload", async () => {
      await ask("POST", taskPath(this.name, "/tables/reload"), { tables }, RELOAD_MS);
      this.chosen.clear();
      this.draw();
      return `${counted(tables.length, "table")} will be loaded again.`;
    });
  }
}
