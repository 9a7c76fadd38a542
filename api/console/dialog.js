// Questions that stop everything else: is this meant, and which key. The browser's own dialog keeps the focus inside and gives it back.

import { el, field } from "./dom.js";
import { setKey } from "./api.js";

/** Asks before something that takes effort to undo. True when the user agreed. */
export function confirmed(title, text, agree) {
  return new Promise((resolve) => {
    const yes = el("button", { type: "button", class: "primary", onclick: () => end(true) }, agree);
    const no = el("button", { type: "button", onclick: () => end(false) }, "Cancel");
    const dialog = opened(title, [el("p", {}, text), el("div", { class: "buttons" }, yes, no)]);
    const end = (answer) => {
      dialog.close();
      resolve(answer);
    };
    dialog.addEventListener("cancel", () => resolve(false));
    no.focus();
  });
}

let keyDialog = null;

/** Asks for the key that the server wants; once at a time. */
export function askKey(refused, given) {
  if (keyDialog) return;
  const input = el("input", { type: "password", autocomplete: "off", spellcheck: "false", required: true });
  const form = el(
    "form",
    {
      method: "dialog",
      onsubmit: () => {
        setKey(input.value.trim());
        given();
      },
    },
    el("p", {}, refused ? "The server did not accept the key." : "This server answers only to those who have a key."),
    field("Key", input, "It is kept until this browser tab is closed, and sent to this server only."),
    el("div", { class: "buttons" }, el("button", { type: "submit", class: "primary" }, "Use this key")),
  );
  keyDialog = opened("A key is wanted", [form]);
  keyDialog.addEventListener("close", () => (keyDialog = null));
  input.focus();
}

function opened(title, children) {
  const heading = el("h2", { id: "dialog-title" }, title);
  const dialog = el("dialog", { "aria-labelledby": "dialog-title" }, heading, children);
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}
