// All tasks at a glance: what runs, what is behind, what failed.

import { read } from "./api.js";
import { attr, cell, el, keyed, put, row, rowHead, section, show, table } from "./dom.js";
import { EventList } from "./events.js";
import { count, known, rate, seconds, sentence } from "./format.js";
import { Listing } from "./listing.js";
import { stamp } from "./live.js";
import { badge, isBehind, isRunning, objective, staleSeconds, stateKind, stateWords, urgency } from "./state.js";
import { tile } from "./tile.js";
import { welcome } from "./welcome.js";

const GROUPS = [["all", "all tasks"], ["attention", "what needs attention"], ["running", "running"], ["loading", "loading"], ["stopped", "not running"], ["failed", "failed"]];
const ORDERS = [["attention", "attention first"], ["name", "by name"], ["lag", "highest lag first"], ["rate", "busiest first"], ["units", "most units first"]];

const FIGURES = ["Tasks", "Need attention", "Throughput", "Units in use", "Highest lag"];

/** Events that are shown below the tasks. */
const EVENTS = 12;

export function fleetPage() {
  const tiles = FIGURES.map((name) => tile(name));
  const panel = section("Tasks");
  const rows = table("Tasks", [["Task"], ["State"], ["Lag", "number"], ["Throughput", "number"], ["Units", "number"], ["Changed"]], "fleet");
  const none = el("p", { class: "empty" }, "No task is like this. Clear the filter to see all.");
  let tasks = [];
  const draw = () => {
    const shown = listing.pick(tasks);
    keyed(rows.body, shown, (task) => task.name, taskRow);
    show(rows.node, shown.length > 0);
    show(none, shown.length === 0);
  };
  const listing = new Listing({
    noun: "tasks",
    matches: (task, text) => [task.name, task.source, task.target].some((name) => name.toLowerCase().includes(text)),
    groups: GROUPS,
    belongs,
    orders: ORDERS,
    compare,
    changed: draw,
    inAddress: true,
  });
  panel.body.append(listing.tools, listing.said, rows.node, none, listing.pager);
  const events = new EventList("/v1/events", EVENTS, true);
  const overview = el("div", { class: "stack" }, el("h1", { class: "unseen" }, "Fleet"), el("dl", { class: "tiles" }, tiles.map(({ node }) => node)), panel.node, events.node);
  const first = welcome();
  const waiting = el("p", { class: "empty" }, "Asking the server for its tasks…");
  show(overview, false);
  show(first, false);
  const node = el("div", {}, waiting, first, overview);
  return {
    title: "Tasks",
    node,
    intervalMs: 2000,
    async refresh() {
      const [answer] = await Promise.all([read("/v1/tasks?view=summary"), events.refresh()]);
      tasks = answer.tasks;
      show(waiting, false);
      show(first, tasks.length === 0);
      show(overview, tasks.length > 0);
      summarize(tasks, tiles);
      draw();
    },
  };
}

function belongs(task, group) {
  switch (group) {
    case "attention":
      return urgency(task) < 3;
    case "running":
      return isRunning(task);
    case "loading":
      return isRunning(task) && task.phase === "loading";
    case "stopped":
      return task.status === "stopped" || task.status === "created";
    case "failed":
      return task.status === "failed";
    default:
      return true;
  }
}

function compare(order) {
  const byName = (one, other) => (one.name < other.name ? -1 : 1);
  const down = (of) => (one, other) => of(other) - of(one) || byName(one, other);
  switch (order) {
    case "lag":
      return down((task) => (isRunning(task) ? task.progress?.lag_seconds ?? 0 : -1));
    case "rate":
      return down((task) => (isRunning(task) ? task.progress?.rows_per_second ?? 0 : -1));
    case "units":
      return down((task) => (isRunning(task) ? task.progress?.units ?? 0 : -1));
    case "name":
      return byName;
    default:
      return (one, other) => urgency(one) - urgency(other) || byName(one, other);
  }
}

function summarize(tasks, [all, attention, throughput, units, lag]) {
  const running = tasks.filter(isRunning);
  const failed = tasks.filter((task) => task.status === "failed").length;
  const behind = tasks.filter(isBehind).length;
  const sum = (of) => running.reduce((total, task) => total + (of(task) ?? 0), 0);
  const wanted = sum((task) => task.progress?.capacity?.units_wanted);
  const worst = running.reduce((best, task) => ((task.progress?.lag_seconds ?? -1) > (best?.progress?.lag_seconds ?? -1) ? task : best), null);
  all.set(count(tasks.length), `${count(running.length)} running`);
  attention.set(count(tasks.filter((task) => urgency(task) < 3).length), `${count(failed)} failed, ${count(behind)} behind`, failed > 0 ? "bad" : behind > 0 ? "warn" : null);
  throughput.set(rate(sum((task) => task.progress?.rows_per_second)), "all running tasks");
  units.set(count(sum((task) => task.progress?.units)), `${count(wanted)} wanted`);
  const late = worst !== null && isBehind(worst);
  lag.set(worst?.progress ? seconds(worst.progress.lag_seconds) : "–", worst?.progress ? worst.name : "nothing runs", late ? "warn" : null);
}

function taskRow() {
  const name = el("a", {});
  const way = el("span", { class: "way" });
  const trouble = el("p", { class: "trouble" });
  const state = badge();
  const lag = el("span");
  const lagMore = el("span", { class: "more" });
  const throughput = el("span");
  const units = el("span");
  const unitsMore = el("span", { class: "more" });
  const changed = el("time");
  const node = row(
    rowHead("name", name, way, trouble),
    cell("State", "", state.node),
    cell("Lag", "number", lag, " ", lagMore),
    cell("Throughput", "number", throughput),
    cell("Units", "number", units, " ", unitsMore),
    cell("Changed", "", changed),
  );
  return {
    node,
    update(task) {
      put(name, task.name);
      attr(name, "href", `#/tasks/${encodeURIComponent(task.name)}`);
      put(way, `${task.source} → ${task.target}`);
      state.set(stateKind(task), stateWords(task));
      const progress = isRunning(task) ? task.progress : null;
      const old = staleSeconds(task);
      put(lag, progress ? seconds(progress.lag_seconds) : "–");
      put(lagMore, progress ? (old === null ? `of ${seconds(objective(task))}` : `${seconds(old)} old`) : "");
      attr(node, "data-kind", task.status === "failed" ? "bad" : isBehind(task) ? "warn" : null);
      put(throughput, progress ? rate(progress.rows_per_second) : "–");
      const wanted = progress?.capacity?.units_wanted;
      put(units, progress ? count(progress.units) : "–");
      put(unitsMore, progress && known(wanted) && wanted !== progress.units ? `${count(wanted)} wanted` : `at most ${count(task.max_units)}`);
      put(trouble, task.failure ? sentence(task.failure.message) : isBehind(task) ? sentence(task.progress.capacity?.explanation ?? "behind its objective") : "");
      show(trouble, Boolean(task.failure) || isBehind(task));
      stamp(changed, Math.max(task.updated_at_us ?? 0, task.started_at_us ?? 0, task.stopped_at_us ?? 0));
    },
  };
}
