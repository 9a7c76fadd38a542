// One task: how it is, why it is so, and what can be done.

import { Refused, read, taskPath } from "./api.js";
import { el, keyed, put, section, show } from "./dom.js";
import { EventList } from "./events.js";
import { bytes, count, counted, known, rate, seconds } from "./format.js";
import { HistoryPanel } from "./history.js";
import { LagPanel } from "./lag.js";
import { announce, stamp } from "./live.js";
import { ModulesPanel } from "./modules.js";
import { Notice, Trouble } from "./notice.js";
import { RowErrorsPanel } from "./row-errors.js";
import { badge, isBehind, isRunning, objective, staleSeconds, stateKind, stateWords } from "./state.js";
import { TablesPanel } from "./tables.js";
import { BoundsForm, TaskActions } from "./task-actions.js";
import { tile } from "./tile.js";

const FIGURES = ["Lag", "Throughput", "Units", "Rows loaded", "Changes applied", "Waiting", "Rejected rows", "Reconnects"];

/** Events that are shown at first. */
const EVENTS = 15;

export function taskPage(name) {
  const page = { title: name, intervalMs: 2000 };
  const notice = new Notice(() => page.refreshNow?.());
  const head = new TaskHead(name, notice);
  const tiles = FIGURES.map((figure) => tile(figure));
  const history = new HistoryPanel(name);
  const lag = new LagPanel();
  const bounds = new BoundsForm(name, notice);
  const tables = new TablesPanel(name, notice);
  const modules = new ModulesPanel();
  const errors = new RowErrorsPanel(name, notice);
  const events = new EventList(taskPath(name, "/events"), EVENTS, false);
  const definition = new Definition();
  const rest = el(
    "div",
    { class: "stack" },
    el("dl", { class: "tiles eight" }, tiles.map(({ node }) => node)),
    el("div", { class: "split-page" }, history.node, el("div", { class: "stack" }, lag.node, bounds.node)),
    tables.node,
    modules.node,
    errors.node,
    events.node,
    definition.node,
  );
  show(rest, false);
  page.node = el("div", { class: "stack" }, head.node, notice.node, rest);
  page.refresh = async () => {
    let task;
    let why;
    try {
      [task, why] = await Promise.all([read(taskPath(name)), read(taskPath(name, "/lag"))]);
    } catch (error) {
      if (!(error instanceof Refused) || error.status !== 404) throw error;
      head.missing(error);
      show(rest, false);
      return;
    }
    head.update(task);
    show(rest, true);
    figures(task, tiles);
    lag.update(task, why);
    bounds.update(task);
    modules.update(task);
    errors.update(task);
    definition.update(task);
    await Promise.all([history.refresh(task), tables.refresh(task), events.refresh()]);
  };
  return page;
}

class TaskHead {
  constructor(name, notice) {
    this.name = name;
    this.state = badge();
    this.way = el("p", { class: "way long" });
    this.since = el("time");
    this.sinceWords = el("span");
    this.old = el("p", { class: "old", hidden: true });
    this.failure = new Trouble();
    this.actions = new TaskActions(name, notice);
    this.words = null;
    this.node = el(
      "div",
      { class: "page-head" },
      el("nav", { class: "crumbs", "aria-label": "Where you are" }, el("a", { href: "#/" }, "Tasks"), el("span", { "aria-hidden": "true" }, "/"), el("span", { "aria-current": "page", class: "long" }, name)),
      el("div", { class: "title" }, el("h1", { class: "long" }, name), this.state.node, this.actions.node),
      this.way,
      el("p", { class: "since" }, this.sinceWords, " ", this.since),
      this.old,
      this.failure.node,
    );
    this.state.set("calm", "asking");
  }

  update(task) {
    const words = stateWords(task);
    this.state.set(stateKind(task), words);
    if (this.words !== null && this.words !== words) announce(`Task ${task.name}: ${words}.`);
    this.words = words;
    put(this.way, `${task.source} → ${task.target}, ${task.migration_type}`);
    const [said, at] = isRunning(task) || task.status === "starting" ? ["Started", task.started_at_us] : task.stopped_at_us ? ["Ended", task.stopped_at_us] : ["Created", task.created_at_us];
    put(this.sinceWords, said);
    stamp(this.since, at);
    const old = staleSeconds(task);
    show(this.old, old !== null);
    put(this.old, old === null ? "" : `These figures are ${seconds(old)} old: the worker has not reported since.`);
    this.failure.set(task.failure);
    this.actions.update(task);
  }

  missing(error) {
    this.state.set("bad", "not there");
    this.failure.set({ message: error.message, code: error.code, hint: "It may have been deleted, or the address is not quite right. All tasks are one page up." });
  }
}

function figures(task, [lag, throughput, units, loaded, applied, waiting, rejected, reconnects]) {
  const progress = task.progress;
  const live = isRunning(task) && Boolean(progress);
  const plan = progress?.capacity;
  lag.set(live ? seconds(progress.lag_seconds) : "–", `objective ${seconds(objective(task))}`, isBehind(task) ? "warn" : null);
  throughput.set(live ? rate(progress.rows_per_second) : "–", live ? `${bytes(progress.bytes_per_second)}/s` : "");
  units.set(live ? `${count(progress.units)} in use` : "–", `${known(plan?.units_wanted) && live ? `${count(plan.units_wanted)} wanted, ` : ""}${count(task.min_units)} to ${count(task.max_units)} allowed`);
  loaded.set(progress ? count(progress.rows_loaded) : "–", "rows in this run");
  applied.set(progress ? count(progress.changes_applied) : "–", progress ? `in ${counted(progress.transactions_applied, "transaction")}` : "");
  const held = progress ? progress.cache_bytes_memory + progress.cache_bytes_disk : 0;
  waiting.set(live ? bytes(held) : "–", live ? `${bytes(progress.cache_bytes_disk)} of it on disk` : "");
  rejected.set(progress ? count(progress.rows_rejected) : "–", "in this run", progress?.rows_rejected > 0 ? "warn" : null);
  reconnects.set(progress ? count(progress.reconnects) : "–", "in this run", null);
}

class Definition {
  constructor() {
    const panel = section("Definition");
    this.node = panel.node;
    this.pairs = el("dl", { class: "pairs" });
    this.mappings = el("pre", { tabindex: "0", "aria-label": "Table mappings" });
    panel.body.append(this.pairs, el("details", {}, el("summary", {}, "Table mappings"), this.mappings));
  }

  update(task) {
    const pairs = [
      ["Source", task.source],
      ["Target", task.target],
      ["Type", task.migration_type],
      ["Preparation of tables", task.preparation],
      ["Checkpoint", task.progress?.checkpoint ?? "–"],
      ["Settings", Object.keys(task.settings ?? {}).length > 0 ? JSON.stringify(task.settings) : "defaults"],
      ...Object.entries(task.tags ?? {}).map(([key, value]) => [`Tag ${key}`, value]),
    ];
    keyed(this.pairs, pairs, ([key]) => key, pair);
    put(this.mappings, indented(task.table_mappings));
  }
}

function pair([key]) {
  const value = el("dd", { class: "long" });
  return { node: el("div", {}, el("dt", {}, key), value), update: ([, text]) => put(value, text) };
}

function indented(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}
