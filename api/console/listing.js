// A long list made short: a filter, an order, and pages. What is chosen stands in the address when asked for, so that a reload keeps it.

import { attr, choice, el, field, put, show } from "./dom.js";
import { count } from "./format.js";

/** Items on a page. */
const PAGE = 50;

export class Listing {
  /**
   * `matches(item, text)`, `groups`: pairs of value and words with `belongs(item, value)`, `orders`: pairs with `compare(value)`.
   * `changed()` is called when the user chose something.
   */
  constructor({ noun, matches, groups, belongs, orders, compare, changed, inAddress = false }) {
    Object.assign(this, { noun, matches, belongs, compare, changed, inAddress, page: 0 });
    const kept = inAddress ? new URLSearchParams(location.hash.split("?")[1] ?? "") : new URLSearchParams();
    this.page = Math.max(0, Number(kept.get("page") ?? 1) - 1) || 0;
    const again = () => {
      this.page = 0;
      this.tell();
      changed();
    };
    this.text = el("input", { type: "search", value: kept.get("q") ?? "", autocomplete: "off", spellcheck: "false", placeholder: "part of a name", oninput: again });
    this.group = choice(groups, kept.get("show") ?? groups[0][0], again);
    this.order = orders ? choice(orders, kept.get("order") ?? orders[0][0], again) : null;
    this.said = el("p", { class: "found", role: "status" });
    this.back = el("button", { type: "button", onclick: () => this.turn(-1) }, "Previous page");
    this.next = el("button", { type: "button", onclick: () => this.turn(1) }, "Next page");
    this.where = el("span", { class: "where" });
    this.tools = el("div", { class: "tools" }, field("Filter", this.text), field("Show", this.group), this.order ? field("Order", this.order) : null);
    this.pager = el("nav", { class: "pager", "aria-label": `Pages of ${noun}` }, this.back, this.where, this.next);
  }

  /** The items of the page that is open. */
  pick(items) {
    const wanted = this.text.value.trim().toLowerCase();
    const found = items.filter((item) => (wanted === "" || this.matches(item, wanted)) && this.belongs(item, this.group.value));
    if (this.order) found.sort(this.compare(this.order.value));
    const pages = Math.max(1, Math.ceil(found.length / PAGE));
    this.page = Math.min(this.page, pages - 1);
    const shown = found.slice(this.page * PAGE, (this.page + 1) * PAGE);
    const all = found.length === items.length;
    put(this.said, all ? `${count(items.length)} ${this.noun}` : `${count(found.length)} of ${count(items.length)} ${this.noun}`);
    show(this.pager, pages > 1);
    put(this.where, `Page ${count(this.page + 1)} of ${count(pages)}`);
    attr(this.back, "disabled", this.page === 0);
    attr(this.next, "disabled", this.page === pages - 1);
    return shown;
  }

  turn(step) {
    this.page += step;
    this.tell();
    this.changed();
  }

  tell() {
    if (!this.inAddress) return;
    const kept = new URLSearchParams();
    if (this.text.value) kept.set("q", this.text.value);
    if (this.group.selectedIndex > 0) kept.set("show", this.group.value);
    if (this.order?.selectedIndex > 0) kept.set("order", this.order.value);
    if (this.page > 0) kept.set("page", this.page + 1);
    const [path] = location.hash.split("?");
    history.replaceState(null, "", `${path || "#/"}${kept.size > 0 ? `?${kept}` : ""}`);
  }
}
