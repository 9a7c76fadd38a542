// What a task's modules used and did in this run.

import { attr, cell, el, keyed, put, row, rowHead, section, show, table } from "./dom.js";
import { bytes, count, seconds } from "./format.js";

export class ModulesPanel {
  constructor() {
    const panel = section("Modules");
    this.node = panel.node;
    const number = (words) => [words, "number"];
    this.rows = table("Modules", [["Module"], number("Rows"), number("CPU time"), number("Peak memory"), number("Failed calls"), number("Rejected rows")]);
    this.none = el("p", { class: "empty" }, "No module has worked in this run: tables without row-level rules need none.");
    panel.body.append(this.rows.node, this.none);
  }

  update(task) {
    const modules = task.progress?.modules ?? [];
    keyed(this.rows.body, modules, (module) => module.name, moduleRow);
    show(this.rows.node, modules.length > 0);
    show(this.none, modules.length === 0);
  }
}

function moduleRow() {
  const [name, rows, cpu, each, memory, failures, rejected] = Array.from({ length: 7 }, () => el("span"));
  attr(name, "class", "long");
  attr(each, "class", "more");
  const node = row(
    rowHead("name", name),
    cell("Rows", "number", rows),
    cell("CPU time", "number", cpu, " ", each),
    cell("Peak memory", "number", memory),
    cell("Failed calls", "number", failures),
    cell("Rejected rows", "number", rejected),
  );
  return {
    node,
    update(module) {
      put(name, module.name === "rules" ? "rules (built in)" : module.name);
      put(rows, count(module.rows));
      put(cpu, seconds(module.cpu_seconds));
      put(each, module.rows > 0 ? `${((module.cpu_seconds * 1e6) / module.rows).toFixed(1)} µs a row` : "");
      put(memory, bytes(module.memory_bytes_peak));
      put(failures, count(module.failures));
      put(rejected, count(module.rejected));
      attr(node, "data-kind", module.failures > 0 ? "bad" : module.rejected > 0 ? "warn" : null);
    },
  };
}
