// The files that are ticked in the library, and what can be done with them: a bar that stays in view while there are any.
import { announce, get, h } from "./dom.js";
import { _, ngettext } from "./text.js";

const MERGED = ["checkpoint", "lora", "embedding", "hypernetwork"];
const selected = new Map(); // files by id, in the order in which they were ticked

const link = (work, word, files, isPrimary = false) => h("a", { class: `button small${isPrimary ? " primary" : ""}`, href: `/files/${work}?${new URLSearchParams(files.map((file) => ["file", file.id]))}` }, word);

// The links for files, those that fit them best first.
export function listWork(files) {
  const kinds = new Set(files.map((file) => file.kind));
  const isOneKind = kinds.size === 1;
  const [kind] = kinds;
  const checkpoints = files.filter((file) => file.kind === "checkpoint");
  const isInto = checkpoints.length === 1 && files.length > 1 && files.every((file) => ["checkpoint", "lora"].includes(file.kind));
  const links = [];
  if ((isOneKind && files.length > 1 && MERGED.includes(kind)) || isInto) links.push(link("merge", isInto ? _("Merge into the checkpoint") : _("Merge"), files, true));
  if (isOneKind && kind === "checkpoint" && files.length === 2) links.push(link("extract", _("Extract a LoRA"), [...files].sort((one, two) => (one.run !== "") - (two.run !== ""))));
  if (files.length === 1 && kind === "checkpoint" && files[0].run) links.push(link("extract", _("Extract a LoRA"), files));
  if (isOneKind && files.length === 2) links.push(link("diff", _("Compare"), files));
  links.push(link("verify", _("Check"), files));
  if (files.length === 1) links.push(link("convert", _("Convert"), files));
  if (files.length === 1 && kind === "lora") links.push(link("resize", _("Make smaller"), files));
  if (files.every((file) => file.kind)) links.push(link("install", _("Copy to my WebUI"), files));
  return links;
}

export const isSelected = (file) => selected.has(file.id);

export function tick(file) {
  return h("input", { type: "checkbox", "data-tick": file.id, "aria-label": _("Choose {name}", { name: file.name }), checked: isSelected(file), onchange: (event) => {
    if (event.target.checked) selected.set(file.id, file);
    else selected.delete(file.id);
    showBar();
  } });
}

// What is known of a file may have changed, and one may have gone.
export function renew(files) {
  const byId = new Map(files.map((file) => [file.id, file]));
  for (const id of [...selected.keys()]) {
    if (byId.has(id)) selected.set(id, byId.get(id));
    else selected.delete(id);
  }
  showBar(false);
}

function showBar(says = true) {
  const files = [...selected.values()];
  const count = ngettext("{count} file chosen", "{count} files chosen", files.length);
  get("selection").hidden = !files.length;
  get("selection").replaceChildren(h("b", {}, count), h("span", { class: "row" }, ...listWork(files)), h("button", { type: "button", class: "button small ghost push", onclick: clear }, _("Clear the selection")));
  if (says) announce(count);
}

function clear() {
  selected.clear();
  for (const box of document.querySelectorAll("[data-tick]")) box.checked = false;
  showBar();
  get("find").focus();
}
