// The library: all files are fetched once and filtered here; rows are built as they are needed, and checked as they are seen.
import { ask, press } from "./api.js";
import { confirmLoss } from "./dialog.js";
import { announce, badge, get, h } from "./dom.js";
import { connect } from "./live.js";
import { listWork, renew, tick } from "./selection.js";
import { _, ngettext, number } from "./text.js";
import { toast } from "./toast.js";

const PAGE = 60;
const CHECKED_BYTES = 300_000_000; // a larger file is read as a whole only when somebody opens it
const { kinds } = JSON.parse(get("data").textContent);
let files = [];
let kind = null;
let onlyBad = false;
let shown = PAGE;

const search = (file, text) => [file.name, file.word, file.hash, file.folder, file.run].some((value) => value.toLowerCase().includes(text));

function select() {
  const text = get("find").value.trim().toLowerCase();
  const family = get("family").value;
  const order = get("order").value;
  const found = files.filter((file) => (kind === null || file.kind === kind) && (!family || file.family === family) && (!onlyBad || file.problems) && (!text || search(file, text)));
  return found.sort((one, two) => (order === "name" ? one.name.localeCompare(two.name) : two[order] - one[order]));
}

function showKinds() {
  const chip = (word, count, isOn, choose) => h("button", { type: "button", class: `chip${isOn ? " on" : ""}`, "aria-pressed": String(isOn), onclick: () => { choose(); shown = PAGE; show(); } }, word, " ", h("span", { class: "n" }, number(count)));
  const bad = files.filter((file) => file.problems).length;
  const known = files.filter((file) => file.is_read || file.kind);
  const present = kinds.filter((each) => known.some((file) => file.kind === each.kind));
  const focused = [...get("kinds").children].indexOf(document.activeElement);
  get("kinds").replaceChildren(
    chip(_("All"), files.length, kind === null && !onlyBad, () => { kind = null; onlyBad = false; }),
    ...present.map((each) => chip(each.word, known.filter((file) => file.kind === each.kind).length, kind === each.kind, () => { kind = kind === each.kind ? null : each.kind; })),
    ...(bad ? [chip(_("With problems"), bad, onlyBad, () => { onlyBad = !onlyBad; })] : []),
  );
  if (focused >= 0) get("kinds").children[focused]?.focus();
}

function showFamilies() {
  const chosen = get("family").value;
  const families = [...new Set(files.map((file) => file.family).filter(Boolean))].sort();
  get("family").replaceChildren(h("option", { value: "" }, _("All families")), ...families.map((family) => h("option", { value: family, selected: family === chosen }, family)));
}

const thumb = (file) => (file.preview ? h("img", { class: "thumb l", src: file.preview, width: 64, height: 64, alt: "", loading: "lazy" }) : h("span", { class: "thumb l blank", "aria-hidden": "true" }));

function makeRow(file) {
  const about = [file.folder !== file.run && file.folder, file.word && _("trigger word {word}", { word: file.word })].filter(Boolean).join(" · ");
  const maker = file.run || file.copy_of;
  return h("tr", { "data-id": file.id },
    h("td", {}, h("span", { class: "with-check" }, tick(file), thumb(file))),
    h("td", { class: "name-col" }, h("button", { type: "button", class: "link name", title: file.name, onclick: () => open(file.id) }, file.name), h("br"), file.problem ? h("span", { class: "is-bad" }, file.problem) : h("span", { class: "quiet" }, about)),
    h("td", { class: "kind-col" }, file.is_read || file.kind ? file.kind_word : h("span", { class: "quiet" }, _("reading …")), file.family && h("span", { class: "quiet block" }, file.family)),
    h("td", { class: "num" }, file.size),
    h("td", { class: "hash-col" }, h("code", { class: "quiet" }, file.hash || "–")),
    h("td", { class: `run-col${maker ? "" : " none"}` }, maker ? h("a", { title: maker, href: `/runs/${encodeURIComponent(maker)}` }, maker) : h("span", { class: "quiet" }, "–"), file.copy_of && h("span", { class: "quiet block" }, _("a copy"))),
    h("td", { class: "quiet when-col" }, file.changed),
    h("td", { class: `bad-col${file.problems || file.is_checked ? "" : " none"}` }, file.problems ? badge(ngettext("{count} problem", "{count} problems", file.problems), "bad") : file.is_checked ? badge(_("checked"), "ok") : h("span", { class: "quiet" }, "–")),
  );
}

function show() {
  get("toolbar").hidden = !files.length;
  renew(files);
  showKinds();
  const found = select();
  const heads = ["", _("Name"), _("Kind"), _("Size"), _("Hash"), _("Made by"), _("Changed"), _("State")];
  const head = h("thead", {}, h("tr", {}, ...heads.map((word, place) => h("th", {}, place ? word : h("span", { class: "sr" }, _("Image"))))));
  const rows = found.slice(0, shown).map(makeRow);
  const more = found.length > rows.length && h("p", { class: "more" }, h("button", { type: "button", class: "button small ghost", onclick: () => { shown += 200; show(); } }, ngettext("Show more: {count} file in all", "Show more: {count} files in all", found.length)));
  if (!files.length) get("files").replaceChildren(h("div", { class: "card empty-state" }, h("p", {}, h("b", {}, _("No model files yet"))), h("p", { class: "quiet" }, _("What you train appears here, and what is in the folder that --models-dir names."))));
  else if (!found.length) get("files").replaceChildren(h("div", { class: "card empty-state" }, h("p", {}, _("No file is like that."))));
  else get("files").replaceChildren(h("div", { class: "card listcard" }, h("table", { class: "table cards files can-select" }, head, h("tbody", {}, ...rows)), more || null));
  for (const row of rows) seen.observe(row);
}

// ---------- checks: rows in view are read as a whole, one after the other ----------
const waiting = new Map();
let isChecking = false;

const seen = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    const file = files.find((each) => each.id === target.dataset.id);
    if (!file || !file.is_read || file.is_checked || file.bytes > CHECKED_BYTES) continue;
    if (isIntersecting) waiting.set(file.id, file);
    else waiting.delete(file.id);
  }
  checkNext();
}, { rootMargin: "80px" });

async function checkNext() {
  if (isChecking) return;
  isChecking = true;
  while (waiting.size && !document.hidden) {
    const [id] = waiting.keys();
    waiting.delete(id);
    const found = await ask("GET", `/api/library/files/${id}`).catch(() => null);
    if (found) replace(found);
  }
  isChecking = false;
}

document.addEventListener("visibilitychange", checkNext);

function replace(found) {
  const place = files.findIndex((file) => file.id === found.id);
  if (place < 0) return;
  const hadProblems = files.filter((file) => file.problems).length;
  files[place] = found;
  renew(files);
  const row = get("files").querySelector(`tr[data-id="${found.id}"]`);
  const focused = row?.contains(document.activeElement) ? document.activeElement.tagName : "";
  const fresh = makeRow(found);
  row?.replaceWith(fresh);
  if (focused) fresh.querySelector(focused).focus();
  if (hadProblems !== files.filter((file) => file.problems).length) showKinds();
  if (found.family && ![...get("family").options].some((option) => option.value === found.family)) showFamilies();
}

// ---------- one file ----------
const dialog = get("details");

async function open(id) {
  const file = files.find((each) => each.id === id);
  const title = h("h2", { id: "details-title", tabindex: -1 }, file.name);
  const close = h("button", { type: "button", class: "button icon ghost", "aria-label": _("Close"), onclick: () => dialog.close() }, "✕");
  const body = h("div", { class: "stack" }, h("p", { class: "quiet", role: "status" }, _("Reading the whole file …")));
  dialog.replaceChildren(h("header", { class: "row between" }, title, close), body);
  dialog.showModal();
  title.focus();
  let found;
  try {
    found = await ask("GET", `/api/library/files/${id}`);
  } catch (error) {
    body.replaceChildren(h("div", { class: "note bad" }, h("div", {}, error.message)));
    return;
  }
  replace(found);
  body.replaceChildren(...describe(found));
}

function describe(found) {
  const pairs = (list) => h("dl", { class: "pairs left" }, ...list.flatMap(({ label, value }) => [h("dt", {}, label), h("dd", {}, value)]));
  const problems = found.all_problems.map((text) => h("div", { class: "note bad" }, h("div", {}, text)));
  const actions = [];
  if (found.run) {
    const query = new URLSearchParams({ run: found.run, file: found.name });
    if (found.kind !== "vae" && found.kind) actions.push(h("a", { class: "button", href: `/generate?${query}` }, _("Generate with it")));
    actions.push(h("a", { class: "button", href: `/runs/${encodeURIComponent(found.run)}` }, _("Open its run")));
    actions.push(h("button", { type: "button", class: "button danger", "data-writes": true, onclick: (event) => press(event.currentTarget, () => deleteRun(found.run)) }, _("Delete its run …")));
  }
  return [
    ...problems,
    h("div", { class: "file-head" }, found.preview && h("img", { class: "file-image", src: found.preview, width: 160, height: 160, alt: "" }), h("div", { class: "stack tight" }, h("p", {}, h("b", {}, found.what), found.family && ` · ${found.family}`, ` · ${found.size}`), h("code", { class: "path small quiet" }, found.path))),
    pairs(found.facts),
    found.metadata.length ? h("details", { class: "small" }, h("summary", {}, ngettext("{count} entry of its metadata", "{count} entries of its metadata", found.metadata.length)), pairs(found.metadata)) : null,
    h("footer", {}, ...listWork([found]), ...actions),
  ].filter(Boolean);
}

async function deleteRun(name) {
  const address = `/api/runs/${encodeURIComponent(name)}`;
  const { sentence, size } = await ask("GET", `${address}/contents`);
  const title = _("Delete the run “{name}”?", { name });
  if (!(await confirmLoss({ title, text: sentence, keep: _("Keep it"), lose: _("Delete {size}", { size }) }))) return;
  await ask("DELETE", address);
  dialog.close();
  toast(_("{name} is deleted.", { name }));
  await load();
}

// ---------- images that were dropped ----------
async function loadUploads() {
  const uploads = await ask("GET", "/api/uploads");
  get("uploads-section").hidden = !uploads.length;
  get("uploads").replaceChildren(...uploads.map((each) => h("li", { class: "card pad-s upload" },
    each.preview ? h("img", { class: "thumb l", src: each.preview, width: 64, height: 64, alt: "", loading: "lazy" }) : h("span", { class: "thumb l blank", "aria-hidden": "true" }),
    h("div", { class: "grow" }, h("b", { class: "upload-name" }, each.name), h("br"), h("span", { class: "small quiet" }, [each.images, each.size, each.when, each.note].filter(Boolean).join(" · ")), each.runs.length ? h("span", { class: "small quiet block" }, _("used by {runs}", { runs: each.runs.join(", ") })) : null),
    h("button", { type: "button", class: "button small", "data-writes": true, "aria-label": _("Delete {name}", { name: each.name }), onclick: (event) => press(event.currentTarget, () => deleteUpload(each)) }, _("Delete")),
  )));
}

async function deleteUpload(upload) {
  const address = `/api/uploads/${encodeURIComponent(upload.id)}`;
  const { sentence, size } = await ask("GET", `${address}/contents`);
  const title = _("Delete the images “{name}”?", { name: upload.name });
  if (!(await confirmLoss({ title, text: sentence, keep: _("Keep them"), lose: _("Delete {size}", { size }) }))) return;
  await ask("DELETE", address);
  toast(_("{name} is deleted.", { name: upload.name }));
  await loadUploads();
}

// What was there the last time is shown at once; the folders are read meanwhile.
async function loadRemembered() {
  files = await ask("GET", "/api/library/files?remembered=true");
  if (!files.length) return;
  showFamilies();
  show();
}

async function load() {
  try {
    if (!files.length) await loadRemembered();
    files = await ask("GET", "/api/library/files");
  } catch (error) {
    get("files").replaceChildren(h("div", { class: "note bad", role: "alert" }, h("div", {}, h("b", {}, _("The folders cannot be read")), error.message)));
    return;
  }
  showFamilies();
  show();
}

let timer;
get("find").addEventListener("input", () => {
  clearTimeout(timer);
  timer = setTimeout(() => { shown = PAGE; show(); announce(ngettext("{count} file", "{count} files", select().length)); }, 120);
});
for (const id of ["family", "order"]) get(id).addEventListener("change", () => { shown = PAGE; show(); });

connect();
load();
loadUploads();
