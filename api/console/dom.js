// Builds and updates nodes. Text from the server becomes text nodes and attribute values only, never markup.
//
// Views are built once and then updated in place, so that a poll takes the focus, a selection or a scroll position from nobody.

const SVG = "http://www.w3.org/2000/svg";

/** An element: attributes by name (false and null leave one out), listeners as functions under "onclick" and the like, then children. */
export function el(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** The same for SVG. */
export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") node.addEventListener(name.slice(2), value);
    else attr(node, name, value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** Sets an attribute if it is another; null and false remove it, true sets it empty. */
export function attr(node, name, value) {
  if (value === null || value === undefined || value === false) {
    if (node.hasAttribute(name)) node.removeAttribute(name);
    return;
  }
  const text = value === true ? "" : String(value);
  if (node.getAttribute(name) !== text) node.setAttribute(name, text);
}

/** Sets the text if it is another. */
export function put(node, text) {
  const wanted = String(text);
  if (node.textContent !== wanted) node.textContent = wanted;
}

/** Shows or hides a node. */
export function show(node, visible) {
  if (node.hidden === visible) node.hidden = !visible;
}

/** Replaces all children. */
export function replace(node, ...children) {
  node.replaceChildren(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
}

const rowsOf = new WeakMap();

/**
 * Makes the children of a node those of a list: `make(item)` builds one with a function `update(item)`, a key keeps it over polls.
 * Nodes that stay are not moved unless their order changed.
 */
export function keyed(parent, items, keyOf, make) {
  const before = rowsOf.get(parent) ?? new Map();
  const focused = document.activeElement;
  const now = new Map(items.map((item) => [keyOf(item), item]));
  for (const [key, row] of before) if (!now.has(key)) row.node.remove();
  let place = parent.firstElementChild;
  for (const [key, item] of now) {
    const row = before.get(key) ?? make(item);
    now.set(key, row);
    row.update(item);
    if (row.node === place) place = place.nextElementSibling;
    else parent.insertBefore(row.node, place);
  }
  // A node that is moved loses the focus.
  if (focused !== document.activeElement && parent.contains(focused)) focused.focus({ preventScroll: true });
  rowsOf.set(parent, now);
}

let lastId = 0;

/** A fresh id, to tie a label to its control. */
export function freshId(word) {
  lastId += 1;
  return `${word}-${lastId}`;
}

/** A labelled control: `<div class="field"><label>…</label>control</div>`. */
export function field(label, control, hint) {
  const id = freshId("field");
  control.id = id;
  const help = hint ? el("p", { class: "hint", id: `${id}-hint` }, hint) : null;
  if (help) control.setAttribute("aria-describedby", help.id);
  return el("div", { class: "field" }, el("label", { for: id }, label), control, help);
}

/** A choice: options are pairs of value and words. */
export function choice(options, chosen, onchange) {
  return el("select", { onchange }, options.map(([value, words]) => el("option", { value, selected: value === chosen }, words)));
}

/** A section with a heading; answers the section and its body. */
export function section(title, ...tools) {
  const id = freshId("heading");
  const body = el("div", { class: "panel-body" });
  const heading = el("h2", { id }, title);
  const node = el("section", { class: "panel", "aria-labelledby": id }, el("div", { class: "panel-head" }, heading, ...tools), body);
  return { node, body, heading };
}

/** A table that becomes a list of cards on a narrow screen; the roles keep it a table for those who do not see it. */
export function table(caption, columns, kind = "") {
  const head = columns.map(([words, className = ""]) => el("th", { scope: "col", role: "columnheader", class: className }, words));
  const body = el("tbody", { role: "rowgroup" });
  const node = el(
    "table",
    { role: "table", class: `cards ${kind}` },
    el("caption", { class: "unseen" }, caption),
    el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, head)),
    body,
  );
  return { node: el("div", { class: "table-box" }, node), body };
}

/** A cell of such a table: its label is shown on a narrow screen. */
export function cell(label, className, ...children) {
  return el("td", { role: "cell", class: className, "data-label": label }, ...children);
}

/** The first cell of a row, which names it. */
export function rowHead(className, ...children) {
  return el("th", { role: "rowheader", scope: "row", class: className }, ...children);
}

/** A row of such a table. */
export function row(...cells) {
  return el("tr", { role: "row" }, ...cells);
}
