// Lag, throughput and units of the last hour as charts, with the reason of each change of units.

import { read, taskPath } from "./api.js";
import { Chart } from "./chart.js";
import { choice, el, field, keyed, put, section, show } from "./dom.js";
import { clock, count, known, rate, seconds, short } from "./format.js";
import { stamp } from "./live.js";
import { nowUs } from "./server-clock.js";
import { objective } from "./state.js";

const SPANS = [["", "all there is"], ["5", "5 minutes"], ["15", "15 minutes"], ["60", "1 hour"]];

/** The server keeps an hour of points. */
const KEPT_US = 3_600e6;

/** Changes that are listed; the charts mark all of them. */
const LISTED = 8;

export class HistoryPanel {
  constructor(name) {
    Object.assign(this, { name, points: [], changes: [], interval: 5, task: null });
    this.span = choice(SPANS, "", () => this.draw());
    const panel = section("History", field("Show", this.span));
    this.node = panel.node;
    this.lag = new Chart("Lag", seconds);
    this.throughput = new Chart("Throughput", rate, { axis: short, unit: "rows/s" });
    this.units = new Chart("Units", count, { whole: true });
    this.list = el("ol", { class: "changes" });
    this.none = el("p", { class: "empty" }, "The units have not changed in this time.");
    this.waiting = el("p", { class: "empty" }, "There are no figures yet: they begin when the task runs, and anew when the server is restarted.");
    this.charts = el("div", { class: "charts" }, this.lag.node, this.throughput.node, this.units.node);
    panel.body.append(this.waiting, this.charts, el("h3", {}, "Changes of units"), this.list, this.none);
  }

  async refresh(task) {
    this.task = task;
    const last = this.points.at(-1)?.at_us;
    const answer = await read(taskPath(this.name, `/history${last ? `?after_us=${last}` : ""}`));
    this.interval = answer.interval_seconds;
    this.points = [...this.points, ...answer.points].filter((point) => point.at_us > nowUs() - KEPT_US);
    this.changes = answer.changes;
    this.draw();
  }

  draw() {
    if (this.task === null) return;
    const to = nowUs();
    const from = to - (Number(this.span.value) || fitting(to - (this.points[0]?.at_us ?? to))) * 60e6;
    const inside = this.points.filter((point) => point.at_us >= from);
    const of = (read) => inside.filter((point) => known(read(point))).map((point) => [point.at_us, read(point)]);
    const changes = this.changes.filter((change) => change.at_us >= from);
    const frame = { from, to, gap: 3.5 * this.interval * 1e6, limit: null, marks: [] };
    show(this.waiting, this.points.length === 0);
    show(this.charts, this.points.length > 0);
    const longest = objective(this.task);
    this.lag.draw({
      ...frame,
      series: [{ name: "lag", kind: "first", points: of((point) => point.lag_seconds) }],
      limit: { value: longest, words: `objective ${seconds(longest)}` },
    });
    this.throughput.draw({ ...frame, series: [{ name: "rows applied", kind: "first", points: of((point) => point.rows_per_second) }] });
    this.units.draw({
      ...frame,
      series: [
        { name: "in use", kind: "first", step: true, points: of((point) => point.units) },
        { name: "wanted", kind: "second", step: true, points: of((point) => point.units_wanted) },
      ],
      limit: { value: this.task.max_units, words: `at most ${count(this.task.max_units)}` },
      marks: changes.map((change) => ({ at: change.at_us, words: `${units(change)}, ${change.reason}: ${change.explanation}` })),
    });
    const listed = changes.slice(-LISTED).reverse();
    keyed(this.list, listed, (change) => change.at_us, changeItem);
    show(this.none, listed.length === 0);
  }
}

/** The shortest of the spans that has all that there is, minutes. */
function fitting(us) {
  return SPANS.map(([minutes]) => Number(minutes)).find((minutes) => minutes > 0 && minutes * 60e6 >= us) ?? 60;
}

function units(change) {
  const step = (before, after) => (before === null || before === after ? count(after) : `${count(before)} → ${count(after)}`);
  return `${step(change.wanted_before, change.wanted)} wanted, ${step(change.units_before, change.units)} in use`;
}

function changeItem() {
  const [exact, at, words, reason, why] = [el("span", { class: "exact" }), el("time"), el("strong"), el("code"), el("span")];
  const node = el("li", {}, el("span", { class: "when" }, exact, " ", at), el("span", { class: "what" }, words, " ", reason, " ", why));
  return {
    node,
    update(change) {
      put(exact, clock(change.at_us));
      stamp(at, change.at_us);
      put(words, units(change));
      put(reason, change.reason);
      put(why, change.explanation);
    },
  };
}
