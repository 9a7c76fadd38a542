// A chart over time in SVG: lines or steps with gaps, an upper line that should not be crossed, and marks with words.
//
// It has three readers. Who sees it gets the picture and, under the pointer, the figures; who hears it gets a sentence as the
// picture's name; and everybody can open the same figures as a table.

import { attr, el, put, replace, svg } from "./dom.js";
import { clock } from "./format.js";

const HEIGHT = 150;
const EDGE = { top: 12, right: 8, bottom: 22, left: 62 };

/** Rows of the table: more would not be read. */
const TABLE_ROWS = 30;

/** How near the pointer must be to a mark to read it, pixels. */
const MARK_REACH = 7;

/** Minutes between two labels of the time axis. */
const MINUTES = [1, 2, 5, 10, 15, 30, 60, 120];

export class Chart {
  /**
   * `format` writes a value with its unit. `axis` writes it at the axis where there is less room; `unit` is then told with the title.
   * With `whole` there is nothing between two whole numbers.
   */
  constructor(title, format, { axis = format, unit = "", whole = false } = {}) {
    Object.assign(this, { title, format, axis, whole, data: null, pointer: null, width: 0 });
    this.readout = el("span", { class: "readout" });
    this.picture = svg("svg", { role: "img", class: "chart", height: HEIGHT, "aria-label": title });
    this.picture.addEventListener("pointermove", (event) => this.point(event.offsetX));
    this.picture.addEventListener("pointerdown", (event) => this.point(event.offsetX));
    this.picture.addEventListener("pointerleave", () => this.point(null));
    this.rows = el("div", { class: "table-box" });
    this.details = el("details", { class: "figures", ontoggle: () => this.fillRows() }, el("summary", {}, "Figures as a table"), this.rows);
    this.legend = el("ul", { class: "legend" });
    this.node = el(
      "figure",
      { class: "chart-box" },
      el("figcaption", {}, el("strong", {}, title), unit ? el("span", { class: "more" }, ` ${unit}`) : null, " ", this.readout),
      this.picture,
      this.legend,
      this.details,
    );
    new ResizeObserver(() => this.resize()).observe(this.node);
  }

  /**
   * Draws `{from, to, gap, series: [{name, kind, step, points: [[us, value]]}], limit: {value, words} | null, marks: [{at, words}]}`.
   * Times are microseconds; where two points are further apart than `gap`, nothing was measured and no line is drawn.
   */
  draw(data) {
    this.data = data;
    const several = data.series.length > 1 || data.limit;
    const named = data.series.map(({ name, kind }) => el("li", { class: `key ${kind}` }, name));
    if (data.limit) named.push(el("li", { class: "key limit" }, data.limit.words));
    if (several && this.legend.children.length !== named.length) replace(this.legend, named);
    else if (several) named.forEach((item, index) => put(this.legend.children[index], item.textContent));
    attr(this.picture, "aria-label", this.sentence());
    this.paint();
    this.fillRows();
  }

  resize() {
    const width = Math.floor(this.node.clientWidth);
    if (width === this.width || width === 0) return;
    this.width = width;
    this.paint();
  }

  point(x) {
    this.pointer = x;
    this.paint();
  }

  paint() {
    if (!this.data || this.width === 0) return;
    const { from, to, series, limit, marks } = this.data;
    const inner = { width: this.width - EDGE.left - EDGE.right, height: HEIGHT - EDGE.top - EDGE.bottom };
    const top = niceTop(this.whole, Math.max(limit?.value ?? 0, ...series.flatMap(({ points }) => points.map(([, value]) => value))));
    const x = (us) => EDGE.left + ((us - from) / (to - from)) * inner.width;
    const y = (value) => EDGE.top + inner.height * (1 - value / top);
    attr(this.picture, "width", this.width);
    attr(this.picture, "viewBox", `0 0 ${this.width} ${HEIGHT}`);
    const parts = [...this.valueAxis(top, y), ...this.timeAxis(x, inner.width)];
    if (limit) parts.push(svg("line", { class: "limit", x1: EDGE.left, x2: this.width - EDGE.right, y1: y(limit.value), y2: y(limit.value) }));
    for (const line of series) parts.push(...this.line(line, x, y));
    for (const mark of marks) {
      const place = round(x(mark.at));
      parts.push(
        svg(
          "g",
          { class: "event" },
          svg("title", {}, mark.words),
          svg("line", { x1: place, x2: place, y1: EDGE.top, y2: EDGE.top + inner.height }),
          svg("path", { d: `M${place - 4} ${EDGE.top - 8}h8l-4 7z` }),
        ),
      );
    }
    if (series.every(({ points }) => points.length === 0)) {
      parts.push(svg("text", { class: "nothing", x: EDGE.left + inner.width / 2, y: EDGE.top + inner.height / 2, "text-anchor": "middle" }, "nothing measured in this time"));
    }
    parts.push(...this.cross(x, y));
    replace(this.picture, parts);
  }

  valueAxis(top, y) {
    return [0, top / 2, top].flatMap((value) => [
      svg("line", { class: "grid", x1: EDGE.left, x2: this.width - EDGE.right, y1: round(y(value)), y2: round(y(value)) }),
      svg("text", { x: EDGE.left - 6, y: y(value) + 4, "text-anchor": "end" }, this.axis(value)),
    ]);
  }

  timeAxis(x, width) {
    const { from, to } = this.data;
    const wanted = Math.max(2, Math.floor(width / 80));
    const minutes = MINUTES.find((step) => (to - from) / (step * 60e6) <= wanted) ?? 240;
    const step = minutes * 60e6;
    const labels = [];
    for (let at = Math.ceil(from / step) * step; at <= to; at += step) {
      const place = round(x(at));
      if (place > this.width - 16) continue;
      labels.push(svg("line", { class: "grid", x1: place, x2: place, y1: HEIGHT - EDGE.bottom, y2: HEIGHT - EDGE.bottom + 4 }));
      labels.push(svg("text", { x: place, y: HEIGHT - 6, "text-anchor": "middle" }, clock(at).slice(0, 5)));
    }
    return labels;
  }

  line({ kind, step, points }, x, y) {
    const runs = [];
    for (const point of points) {
      const run = runs.at(-1);
      if (run && point[0] - run.at(-1)[0] <= this.data.gap) run.push(point);
      else runs.push([point]);
    }
    return runs.flatMap((run) => {
      const path = run.map(([us, value], index) => {
        const [across, up] = [round(x(us)), round(y(value))];
        if (index === 0) return `M${across} ${up}`;
        return step ? `H${across}V${up}` : `L${across} ${up}`;
      });
      const floor = round(y(0));
      const [start, end] = [round(x(run[0][0])), round(x(run.at(-1)[0]))];
      // A point alone would be a line without length.
      const stub = run.length === 1 ? "h2" : "";
      return [
        svg("path", { class: `area ${kind}`, d: `${path.join("")}${stub}L${end + (stub ? 2 : 0)} ${floor}L${start} ${floor}Z` }),
        svg("path", { class: `line ${kind}`, d: path.join("") + stub }),
      ];
    });
  }

  /** The figures under the pointer, or the newest ones. */
  cross(x, y) {
    const { series, marks } = this.data;
    const longest = series.reduce((best, next) => (next.points.length > best.points.length ? next : best), series[0]);
    const at = this.pointer === null ? longest.points.at(-1)?.[0] : nearest(longest.points, this.pointer, x);
    if (at === undefined) {
      put(this.readout, "");
      return [];
    }
    const figures = series.map(({ name, points }) => [name, points.find(([us]) => us === at)]).filter(([, point]) => point);
    const texts = figures.map(([name, [, value]]) => (series.length > 1 ? `${name} ${this.format(value)}` : this.format(value)));
    const mark = this.pointer !== null && marks.find((candidate) => Math.abs(x(candidate.at) - this.pointer) <= MARK_REACH);
    const present = this.pointer === null && this.isPresent(at);
    put(this.readout, mark ? `${clock(mark.at)}: ${mark.words}` : `${present ? "" : `${clock(at)}: `}${texts.join(", ")}`);
    if (this.pointer === null) return [];
    const place = round(x(at));
    return [
      svg("line", { class: "cross", x1: place, x2: place, y1: EDGE.top, y2: HEIGHT - EDGE.bottom }),
      ...figures.map(([, [, value]]) => svg("circle", { class: "cross", cx: place, cy: round(y(value)), r: 3 })),
    ];
  }

  /** True while the newest point is as new as points can be. */
  isPresent(us) {
    return this.data.to - us <= this.data.gap;
  }

  /** The picture in a sentence. */
  sentence() {
    const { series, limit, from, to } = this.data;
    const minutes = Math.round((to - from) / 60e6);
    const parts = series.filter(({ points }) => points.length > 0).map(({ name, points }) => {
      const highest = points.reduce((best, point) => (point[1] > best[1] ? point : best));
      const [last, value] = points.at(-1);
      return `${name}: ${this.isPresent(last) ? "now" : `at ${clock(last)}`} ${this.format(value)}, highest ${this.format(highest[1])} at ${clock(highest[0])}`;
    });
    const objective = limit ? `; ${limit.words}` : "";
    return `${this.title}, last ${minutes} minutes. ${parts.length > 0 ? parts.join("; ") : "Nothing measured"}${objective}.`;
  }

  fillRows() {
    if (!this.details.open || !this.data) return;
    const { series } = this.data;
    const times = [...new Set(series.flatMap(({ points }) => points.map(([us]) => us)))].sort((one, other) => other - one);
    const every = Math.max(1, Math.ceil(times.length / TABLE_ROWS));
    const values = series.map(({ points }) => new Map(points));
    const rows = times.filter((_, index) => index % every === 0).map((us) =>
      el("tr", {}, el("th", { scope: "row" }, clock(us)), values.map((of) => el("td", {}, of.has(us) ? this.format(of.get(us)) : "–"))));
    const head = el("tr", {}, el("th", { scope: "col" }, "Time"), series.map(({ name }) => el("th", { scope: "col" }, name)));
    replace(this.rows, el("table", { class: "plain" }, el("caption", { class: "unseen" }, this.title), el("thead", {}, head), el("tbody", {}, rows)));
  }
}

/** A round number that is at least the value; half of it is whole too where only whole numbers count. */
function niceTop(whole, value) {
  if (!(value > 0)) return whole ? 2 : 1;
  const power = 10 ** Math.floor(Math.log10(value));
  const steps = whole ? [2, 4, 6, 8, 10] : [1, 2, 3, 4, 5, 6, 8, 10];
  return steps.map((step) => step * power).find((top) => top >= value * 1.02) ?? 20 * power;
}

function nearest(points, place, x) {
  let best;
  for (const [us] of points) if (best === undefined || Math.abs(x(us) - place) < Math.abs(x(best) - place)) best = us;
  return best;
}

function round(number) {
  return Math.round(number * 10) / 10;
}
