// While a training uses the device no image is generated: what a page says meanwhile.
import { ask } from "./api.js";
import { h } from "./dom.js";
import { _ } from "./text.js";

export const LOOK_SECONDS = 5; // between two looks whether the training still uses the device

// {busy, run, order}: a sentence while a training uses the device, and its run; null where the server does not answer.
export const readState = () => ask("GET", "/api/generate/state").catch(() => null);

export function busyNote({ busy, run }) {
  const link = run && h("a", { class: "button small", href: `/runs/${encodeURIComponent(run)}` }, _("Watch {run}", { run }));
  return h("div", { class: "note with-action", role: "status", "data-busy": true }, h("div", {}, h("p", {}, busy), link && h("div", { class: "row" }, link)));
}
