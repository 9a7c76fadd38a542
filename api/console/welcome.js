// What a server without tasks shows: how to submit the first one.

import { el } from "./dom.js";
import { announce } from "./live.js";

const HEADER = "-H 'content-type: application/json'";

function steps(origin) {
  const endpoint = (name, role, port) => `curl -sS ${origin}/v1/endpoints ${HEADER} -d '{
  "name": "${name}", "role": "${role}", "engine": "postgres",
  "host": "127.0.0.1", "port": ${port}, "database": "${name}",
  "username": "postgres", "password": "…", "tls": "disable"}'`;
  return [
    ["Say where the databases are", "Engines are postgres, mysql and mariadb. A password is kept encrypted and never shown again.", `${endpoint("shop", "source", 5432)}\n${endpoint("copy", "target", 5433)}`],
    [
      "Say what is copied",
      "Table mappings are the JSON that AWS DMS users have; % stands for every name.",
      `curl -sS ${origin}/v1/tasks ${HEADER} -d '{
  "name": "shop-to-copy", "source": "shop", "target": "copy",
  "migration_type": "full-load-and-cdc",
  "table_mappings": {"rules": [{
    "rule-type": "selection", "rule-id": "1", "rule-name": "all",
    "rule-action": "include", "object-locator":
      {"schema-name": "public", "table-name": "%"}}]}}'`,
    ],
    ["See what would stop it", "The check names everything that is missing, with the command that helps. It writes nothing.", `curl -sS -X POST ${origin}/v1/tasks/shop-to-copy/check`],
  ];
}

export function welcome() {
  const items = steps(location.origin).map(([title, text, command]) => el("li", {}, el("h2", {}, title), el("p", {}, text), code(title, command)));
  return el(
    "div",
    { class: "welcome" },
    el("h1", {}, "No tasks yet"),
    el("p", {}, "A task copies the rows of a source database into a target and then follows the source's log. It takes a few requests:"),
    el("ol", {}, items),
    el("p", {}, "The task then appears here, and is started here."),
  );
}

function code(title, command) {
  const copy = el(
    "button",
    {
      type: "button",
      class: "quiet",
      "aria-label": `Copy: ${title}`,
      onclick: async () => {
        try {
          await navigator.clipboard.writeText(command);
          announce("Copied.");
          copy.textContent = "Copied";
        } catch {
          announce("The browser does not allow copying; select the text instead.");
        }
        setTimeout(() => (copy.textContent = "Copy"), 2000);
      },
    },
    "Copy",
  );
  return el("div", { class: "code" }, el("pre", { tabindex: "0", "aria-label": title }, command), copy);
}
