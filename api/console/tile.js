// A figure with its name, and what it is to be read with.

import { attr, el, put } from "./dom.js";

/** A tile of a `<dl>`: `set(value, beside, kind)`. */
export function tile(name) {
  const value = el("span", { class: "value" });
  const more = el("span", { class: "more" });
  const node = el("div", { class: "tile" }, el("dt", {}, name), el("dd", {}, value, more));
  return {
    node,
    set(text, beside = "", kind = null) {
      put(value, text);
      put(more, beside);
      attr(node, "data-kind", kind);
    },
  };
}
