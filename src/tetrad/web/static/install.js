// Copy files to a web UI: where each goes is shown before; below are those that are installed there, to be removed again.
import { ask, press, ServerError } from "./api.js";
import { copyText } from "./clipboard.js";
import { confirmLoss } from "./dialog.js";
import { get, h } from "./dom.js";
import { connect } from "./live.js";
import { _ } from "./text.js";
import { toast } from "./toast.js";
import { card, numberField, selectField, textField } from "./work_form.js";
import { about, begin, loadRows, problemNote, showNothing, thumb } from "./work_rows.js";

const WAIT = 300; // ms after the last key
let files = [];
let webUis = [];
let timer;
const wish = { destination: "", name: "", strength: 0 };
const hasTags = () => files.some((file) => ["lora", "hypernetwork"].includes(file.kind));
const body = () => ({ ...wish, files: files.map((file) => file.id) });
const attempt = async (work, fail) => {
  try {
    await work();
  } catch (error) {
    if (!(error instanceof ServerError)) throw error;
    fail(error);
  }
};

async function loadDestinations(chosen = "") {
  webUis = (await ask("GET", "/api/destinations")).filter((each) => each.kind);
  wish.destination = chosen || webUis[0]?.id || "";
}

function show() {
  const rows = files.map((file) => h("li", { class: "parent" }, thumb(file), h("div", { class: "grow" }, h("span", { class: "name" }, file.name), h("br"), h("span", { class: "small quiet" }, about(file)))));
  const where = selectField("destination", _("To"), [...webUis.map((each) => [each.id, `${each.title}: ${each.path}`]), ["", _("Another web UI…")]], wish.destination, (value) => { wish.destination = value; show(); get("destination").focus(); });
  const change = (name) => (value) => { wish[name] = value ?? 0; clearTimeout(timer); timer = setTimeout(preview, WAIT); };
  const main = h("div", { class: "stack loose" },
    files.length ? card("h-files", _("Files"), h("ul", { class: "parents" }, ...rows)) : null,
    card("h-where", _("Which WebUI?"), where, wish.destination ? null : addForm(),
      files.length && wish.destination ? h("div", { class: "work-fields" },
        files.length === 1 ? textField("name", _("Name in the web UI"), wish.name, change("name"), { placeholder: files[0].name.replace(/\.\w+$/, "") }) : null,
        hasTags() ? numberField("strength", _("Weight in the prompt"), wish.strength || null, { min: -10, max: 10, step: 0.05, placeholder: _("the web UI’s own") }, change("strength"), _("A1111 and Forge write it when the file is clicked.")) : null) : null),
    wish.destination ? h("section", { class: "card stack", "aria-labelledby": "h-installed" }, h("h2", { id: "h-installed" }, _("Installed there with Tetrad")), h("ul", { class: "lines receipts", id: "receipts" })) : null);
  get("work").replaceChildren(files.length ? h("div", { class: "split" }, main, h("aside", { class: "stack sticky" }, h("section", { class: "card stack", id: "preview", "aria-label": _("What is copied") }))) : main);
  if (wish.destination) loadReceipts();
  if (files.length) preview();
}

function addForm() {
  const path = h("input", { type: "text", id: "ui-path", spellcheck: "false", autocomplete: "off", placeholder: "…/stable-diffusion-webui", "aria-describedby": "ui-help" });
  const problem = h("div", {});
  const add = (event) => {
    event.preventDefault();
    return attempt(async () => { await loadDestinations((await ask("POST", "/api/destinations", { path: path.value })).id); show(); get("destination").focus(); }, (error) => { problem.replaceChildren(problemNote(error)); path.focus(); });
  };
  return h("form", { class: "field", onsubmit: add }, h("label", { for: "ui-path" }, _("Folder of the web UI")), h("div", { class: "with-button" }, path, h("button", { class: "button", "data-writes": true }, _("Add"))), h("p", { class: "help", id: "ui-help" }, _("The folder that A1111, Forge or ComfyUI is installed in. It is remembered in Settings.")), problem);
}

async function preview() {
  const go = (found) => h("button", { type: "button", class: "button primary tall", id: "go", "data-writes": Boolean(found), "aria-disabled": found ? null : "true", onclick: (event) => press(event.currentTarget, start) }, found ? _("Copy {size}", { size: found.size }) : _("Copy"));
  if (!wish.destination) {
    get("preview").replaceChildren(go(null), h("p", { class: "help" }, _("Give the folder of your web UI first.")));
    return;
  }
  await attempt(async () => {
    const asked = JSON.stringify(body());
    const found = await ask("POST", "/api/files/installs/preview", body());
    if (asked !== JSON.stringify(body())) return; // something was changed meanwhile, and asked for anew
    get("preview").replaceChildren(go(found), h("dl", { class: "pairs left preview" }, h("dt", {}, found.targets.length === 1 ? _("New file") : _("New files")), ...found.targets.map((target) => h("dd", { class: "mono" }, target)), h("dt", {}, _("Left on the disk")), h("dd", {}, found.free)),
      found.has_cards ? h("p", { class: "help" }, _("With a preview image and a card that has the trigger word, where the file has them.")) : "",
      ...found.notes.map((text) => h("div", { class: "note warn" }, h("p", {}, text))),
      h("p", { class: "help" }, _("Each file is checked first. Nothing there is replaced.")), h("hr"), h("button", { type: "button", class: "button small", onclick: () => copyText(found.command) }, _("Copy as command")),
      h("details", {}, h("summary", { class: "small" }, _("Show the command")), h("pre", { class: "code" }, found.command)));
  }, (error) => get("preview").replaceChildren(go(null), problemNote(error)));
}

async function start() {
  location.href = (await ask("POST", "/api/files/installs", body())).address;
}

async function loadReceipts() {
  const { destination } = wish;
  const installed = await ask("GET", `/api/destinations/${destination}/installed`);
  if (destination !== wish.destination) return; // another one was chosen meanwhile
  get("receipts").replaceChildren(...(installed.length ? installed.map((each) => h("li", {}, h("div", { class: "grow" }, h("b", {}, each.name), h("br"), h("code", { class: "path small quiet" }, each.place), each.with.length ? h("span", { class: "small quiet block" }, _("with {files}", { files: each.with.join(", ") })) : "", each.is_there ? "" : h("span", { class: "small quiet block" }, _("it is not there any more"))),
    h("button", { type: "button", class: "button small", "data-writes": true, "aria-label": _("Remove {name} from the web UI", { name: each.name }), onclick: (event) => press(event.currentTarget, () => remove(each)) }, _("Remove")))) : [h("li", { class: "quiet" }, _("Nothing yet."))]));
}

async function remove(installed) {
  const title = _("Remove {name} from the web UI?", { name: installed.name });
  if (!(await confirmLoss({ title, text: installed.question, keep: _("Keep it"), lose: _("Remove {size}", { size: installed.size }) }))) return;
  const { removed, kept } = await ask("DELETE", `/api/destinations/${wish.destination}/installed?${new URLSearchParams({ file: installed.file })}`);
  toast([removed.length ? _("Removed: {files}.", { files: removed.join(", ") }) : _("It is no longer listed."), ...kept].join(" "));
  show();
}

async function load() {
  const { chosen } = await loadRows();
  files = chosen;
  if (!chosen.length && new URLSearchParams(location.search).has("file")) { showNothing(); return; }
  await loadDestinations();
  get("lead").textContent = _("Each file goes into its own folder of A1111, Forge or ComfyUI, and can be removed from there again.");
  show();
}

connect();
begin(load);
