// Questions that stop everything else: is this meant, and which token. The browser's own dialog keeps the focus inside and gives it back.

import { el, field } from "./dom.js";
import { setToken } from "./api.js";

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

let tokenDialog = null;

/** Asks for the token that the server wants; once at a time. */
export function askToken(refused, given) {
  if (tokenDialog) return;
  const input = el("input", { type: "password", autocomplete: "off", spellcheck: "false", required: true });
  const form = el(
    "form",
    {
      method: "dialog",
      onsubmit: () => {
        setToken(input.value.trim());
        given();
      },
    },
    el("p", {}, refused ? "The server did not accept the token." : "This server answers only to those who have a token."),
    field("Token", input, "It is kept until this browser tab is closed, and sent to this server only."),
    el("div", { class: "buttons" }, el("button", { type: "submit", class: "primary" }, "Use this token")),
  );
  tokenDialog = opened("A token is wanted", [form]);
  tokenDialog.addEventListener("close", () => (tokenDialog = null));
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
