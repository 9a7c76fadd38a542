// Why is it lagging: where the last minute went, which part is the limit, and what will come of it.

import { attr, el, put, section, show } from "./dom.js";
import { bytes, count, known, percent, rate, seconds, sentence } from "./format.js";
import { isRunning } from "./state.js";

const PARTS = [
  ["source", "Reading the source", "waiting for it, reading"],
  ["decode", "Decoding", "changes and rows out of what it sends"],
  ["store", "Change cache", "putting changes aside until they commit"],
  ["assemble", "Making groups", "routing, net effect"],
  ["transform", "Modules", "rules and programs"],
  ["conflicts", "Waiting for conflicts", "changes of the same rows take turns"],
  ["write", "Writing to the target", "statements and COPY"],
  ["commit", "Commits in the target", "with the checkpoint"],
];

export class LagPanel {
  constructor() {
    const panel = section("Why is it lagging");
    this.node = panel.node;
    this.heading = panel.heading;
    this.why = el("p", { class: "answer" });
    this.forecast = el("p");
    this.rows = new Map(PARTS.map(([part, name, about]) => [part, partRow(name, about)]));
    this.split = el(
      "table",
      { class: "split" },
      el("caption", {}, "Share of the last minute in which each part had work"),
      el("tbody", {}, [...this.rows.values()].map(({ node }) => node)),
    );
    this.note = el("p", { class: "hint" }, "Several lanes may add up to more than 100 %. An idle task waits for its source nearly all the time.");
    this.figures = el("dl", { class: "pairs" });
    this.pairs = ["Arriving", "Applied", "One unit applies", "Waiting"].map((name) => {
      const value = el("dd");
      this.figures.append(el("div", {}, el("dt", {}, name), value));
      return value;
    });
    panel.body.append(this.why, this.forecast, this.split, this.note, this.figures);
  }

  update(task, lag) {
    const plan = lag.capacity;
    const live = isRunning(task) && Boolean(plan);
    put(this.heading, lag.limited_by && isRunning(task) ? "Why is it lagging" : "What it does with its time");
    put(this.why, live ? sentence(lag.explanation) : isRunning(task) ? "Nothing is measured yet." : "The task does not run.");
    put(this.forecast, live ? forecast(plan) : "");
    for (const part of [this.split, this.note, this.figures]) show(part, live);
    if (!live) return;
    for (const [part] of PARTS) this.rows.get(part).set(plan.last_minute[part], lag.limited_by === part);
    const values = [rate(plan.arriving_per_second), rate(plan.applied_per_second), known(plan.unit_rows_per_second) ? rate(plan.unit_rows_per_second) : "not known yet",
      `${count(plan.changes_waiting)} changes, ${bytes(plan.bytes_waiting)}`];
    values.forEach((value, index) => put(this.pairs[index], value));
  }
}

/** What will come of it, and what more units would bring. */
function forecast(plan) {
  const objective = seconds(plan.max_lag_seconds);
  const parts = [];
  if (plan.falls_behind) parts.push(`With the units that it has, the lag will not come within ${objective}.`);
  else if (known(plan.objective_seconds) && plan.objective_seconds > 0) parts.push(`The lag will be within ${objective} in about ${seconds(plan.objective_seconds)}.`);
  else if (known(plan.objective_seconds)) parts.push(`The lag is within the objective of ${objective}.`);
  if (known(plan.level_seconds) && plan.level_seconds >= 1) parts.push(`Nothing will wait in about ${seconds(plan.level_seconds)}.`);
  if (plan.units_needed > plan.units_max) parts.push(`The objective needs ${count(plan.units_needed)} units; at most ${count(plan.units_max)} are allowed.`);
  if (known(plan.objective_seconds_wanted) && plan.units_wanted > plan.units_granted) {
    parts.push(`With the ${count(plan.units_wanted)} units that are wanted it would take ${seconds(plan.objective_seconds_wanted)}.`);
  }
  return parts.join(" ");
}

function partRow(name, about) {
  const bar = el("span", { class: "bar" });
  const value = el("td", { class: "number" });
  const limit = el("strong", { class: "limit" }, "limit");
  const node = el("tr", {}, el("th", { scope: "row" }, name, " ", limit, el("span", { class: "more" }, about)), el("td", { class: "track", "aria-hidden": "true" }, bar), value);
  return {
    node,
    set(share, isLimit) {
      put(value, percent(share));
      bar.style.inlineSize = `${Math.min(100, Math.max(0, share * 100))}%`;
      show(limit, isLimit);
      attr(node, "data-kind", isLimit ? "warn" : null);
    },
  };
}
