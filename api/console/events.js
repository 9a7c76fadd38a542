// What happened, newest first.

import { read } from "./api.js";
import { attr, el, keyed, put, section, show } from "./dom.js";
import { clock, moment } from "./format.js";
import { stamp } from "./live.js";

/** Events that are held; older ones are in the API. */
const KEPT = 300;

/** More of them by each turn of the button. */
const STEP = 50;

const WORDS = { info: "", warning: "Warning", error: "Error" };

export class EventList {
  /** `named` shows the task of each event, as a link. */
  constructor(path, shown, named) {
    Object.assign(this, { path, shown, named, events: [], last: null });
    const panel = section("Events");
    this.node = panel.node;
    this.list = el("ol", { class: "events" });
    this.none = el("p", { class: "empty" }, "Nothing happened yet.");
    this.more = el("button", { type: "button", onclick: () => this.showMore() }, "Show older events");
    panel.body.append(this.list, this.none, this.more);
    this.draw();
  }

  showMore() {
    this.shown += STEP;
    this.draw();
  }

  async refresh() {
    const answer = await read(`${this.path}?${this.last === null ? "limit=100" : `after_seq=${this.last}&limit=100`}`);
    if (answer.events.length > 0) this.events = [...answer.events.reverse(), ...this.events].slice(0, KEPT);
    this.last = answer.last_seq ?? this.last;
    this.draw();
  }

  draw() {
    keyed(this.list, this.events.slice(0, this.shown), (event) => event.seq, () => this.item());
    show(this.none, this.events.length === 0);
    show(this.more, this.events.length > this.shown);
  }

  item() {
    const [at, exact, word, text] = [el("time"), el("span", { class: "exact" }), el("strong"), el("span")];
    const task = el("a", { class: "of" });
    const node = el("li", {}, el("span", { class: "when" }, exact, " ", at), el("span", { class: "what" }, word, " ", this.named ? task : null, this.named ? " " : null, text));
    return {
      node,
      update(event) {
        attr(node, "data-severity", event.severity);
        const today = new Date().toDateString() === new Date(event.at_us / 1000).toDateString();
        put(exact, today ? clock(event.at_us) : moment(event.at_us));
        stamp(at, event.at_us);
        put(word, WORDS[event.severity] ?? event.severity);
        put(task, event.task ?? "");
        attr(task, "href", event.task ? `#/tasks/${encodeURIComponent(event.task)}` : null);
        put(text, event.message);
      },
    };
  }
}
