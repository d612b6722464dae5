// Work on files: its state until it has ended, then the files that were written, images beside the parents', and what checks say.
import { ask, press } from "./api.js";
import { busyNote } from "./busy.js";
import { Cells } from "./cells.js";
import { confirmLoss } from "./dialog.js";
import { badge, get, h, unbroken } from "./dom.js";
import { connect } from "./live.js";
import { _ } from "./text.js";
import { describeVerification } from "./verdicts.js";
import { field, selectField, textField } from "./work_form.js";
import { problemNote } from "./work_rows.js";

const SECONDS = 1;
let job = JSON.parse(get("data").textContent);
const { number } = job;
const address = `/api/files/jobs/${number}`;
const shown = { prompt: job.prompt, seed: 1, model: job.model };
const buttons = new Map(); // of the images, by key
let cells = null;
let timer;

async function look() {
  const found = await ask("GET", address).catch(() => null);
  if (found) { job = found; show(); }
  if (!found || job.is_alive || job.is_waiting) setTimeout(look, SECONDS * 1000);
}

function show() {
  get("badge").replaceWith(Object.assign(badge(job.word, job.tone, job.state === "running"), { id: "badge" }));
  const focused = document.activeElement?.id;
  get("state").replaceChildren(...describeState());
  if (focused) get(focused)?.focus();
  if (job.files.length && get("verification").hidden) showVerification();
  if (job.columns.length && get("images").hidden) showImages();
}

function describeState() {
  if (job.state === "failed") {
    return [h("div", { class: "note bad", role: "alert" }, h("div", {}, h("b", {}, _("It did not work; nothing was written.")), h("p", {}, job.sentence, " ", job.code && h("code", {}, job.code)))), changeChoices()];
  }
  if (job.state === "interrupted") return [h("p", {}, job.sentence), changeChoices()];
  if (job.is_alive || job.is_waiting) return describeWork();
  return [job.files.length || job.texts.length ? null : h("p", {}, job.sentence), ...job.texts.map((text) => h("p", { class: "grow" }, text)),
    ...job.files.map((file) => h("div", { class: "stack tight" }, h("p", {}, h("b", { class: "run-name" }, file.name), ` · ${unbroken(file.size)}`), h("code", { class: "path small quiet" }, file.path))), notes(), job.files.length ? nextSteps() : null].filter(Boolean);
}

const changeChoices = () => h("div", { class: "row" }, h("button", { type: "button", class: "button", onclick: () => history.back() }, _("Change the choices")));

function describeWork() {
  const bar = h("svg", { class: "progress", viewBox: "0 0 100 8", preserveAspectRatio: "none", role: "progressbar", "aria-label": job.title, "aria-valuenow": job.percent, "aria-valuemin": 0, "aria-valuemax": 100 }, h("rect", { width: job.percent, height: 8 }));
  const stop = h("button", { type: "button", class: "button", id: "stop", "data-writes": true, onclick: (event) => press(event.currentTarget, async () => {
    if (job.is_alive) await ask("POST", `/api/jobs/${number}/stop`);
    else { await ask("DELETE", `/api/jobs/${number}`); location.href = "/library"; }
  }) }, job.is_alive ? _("Stop") : _("Remove from the queue"));
  return [job.is_alive ? bar : null, h("p", { id: "sentence" }, job.sentence), notes(), h("div", { class: "row" }, stop, h("span", { class: "help" }, job.is_alive ? _("If it is stopped, nothing is left behind.") : ""))].filter(Boolean);
}

const notes = () => (job.notes.length ? h("ul", { class: "dots small" }, ...job.notes.map((text) => h("li", {}, text))) : null);

function nextSteps() {
  const query = new URLSearchParams({ file: job.files[0].id });
  return h("div", { class: "row" }, h("a", { class: "button", href: `/files/install?${query}` }, _("Copy to my WebUI")), job.columns.length ? h("a", { class: "button", href: `/generate?job=${number}` }, _("Generate with it")) : null,
    job.can_delete ? h("button", { type: "button", class: "button danger", "data-writes": true, onclick: (event) => press(event.currentTarget, removeResult) }, _("Delete it …")) : null);
}

async function removeResult() {
  const names = job.files.map((file) => file.name).join(", ");
  if (!(await confirmLoss({ title: _("Delete {name}?", { name: names }), text: _("The files that it was made of stay."), keep: _("Keep it"), lose: _("Delete {size}", { size: job.files[0].size }) }))) return;
  await ask("DELETE", address);
  location.href = "/library";
}

async function showVerification() {
  get("verification").hidden = false;
  get("verdicts").replaceChildren(h("p", { class: "quiet" }, _("Reading the whole file …")));
  try {
    get("verdicts").replaceChildren(...describeVerification(await ask("GET", `${address}/verification`)));
  } catch (error) {
    get("verdicts").replaceChildren(problemNote(error));
  }
}

// ---------- images ----------

const wishOf = (column) => ({ ...shown, column, file: String(column) });
const keyOf = (wish) => Cells.key(wish);

async function showImages() {
  get("images").hidden = false;
  cells = new Cells(() => address, { onChange: (key) => buttons.has(key) && paint(key), onProblem: showProblem, onBusy: showBusy });
  const prompt = textField("prompt", _("Prompt"), shown.prompt, change("prompt"));
  const seed = field("seed", _("Seed"), h("input", { type: "number", min: 0, max: 4294967295, step: 1, value: shown.seed, oninput: (event) => event.target.checkValidity() && change("seed")(event.target.valueAsNumber || 0) }));
  get("image-form").addEventListener("submit", (event) => event.preventDefault());
  get("image-form").replaceChildren(prompt, seed);
  showColumns();
  if (!job.needs_model) return;
  const models = await ask("GET", "/api/generate/choices").then((found) => found.models, () => []);
  if (!models.length) return; // the images are generated on the model that was found for them
  get("image-form").append(selectField("model", _("Model for the images"), models.map((each) => [each.id, each.id === "builtin" ? _("the built-in model") : each.name]), shown.model, change("model")));
}

const change = (name) => (value) => {
  shown[name] = value;
  clearTimeout(timer);
  timer = setTimeout(() => { cells.letAll(); showColumns(); }, 600);
};

function showColumns() {
  buttons.clear();
  get("columns").style.setProperty("--n", job.columns.length);
  get("columns").replaceChildren(...job.columns.map((column, place) => {
    const wish = wishOf(place);
    const element = h("button", { type: "button", onclick: () => enlarge(wish, column) });
    buttons.set(keyOf(wish), { element, wish, column });
    paint(keyOf(wish));
    cells.want(wish);
    return h("section", { class: `card pad-s compared${column.is_result ? " result" : ""}`, "aria-labelledby": `column-${place}` }, h("div", { class: "stack tight" }, h("h3", { id: `column-${place}` }, column.title), (column.is_result || column.about) && h("p", { class: "small quiet" }, column.is_result ? _("the result") : column.about)), h("div", { class: "compared-images" }, element));
  }));
}

const imageOf = (id) => `${address}/cells/${id}`;

function paint(key) {
  const { element, wish, column } = buttons.get(key);
  const id = cells.ready.get(key);
  element.className = `cell${id ? "" : " wait"}`;
  element.setAttribute("aria-label", id ? _("Enlarge: {alt}", { alt: column.title }) : `${column.title}, ${_("not generated yet")}`);
  element.replaceChildren(id ? h("img", { src: `${imageOf(id)}/thumbnail`, width: 192, height: 192, alt: "" }) : h("span", { "aria-hidden": "true" }, cells.word(wish)));
}

function enlarge(wish, column) {
  const id = cells.ready.get(keyOf(wish));
  if (!id) return;
  get("viewer").replaceChildren(h("div", { class: "row between" }, h("h2", { id: "viewer-title" }, column.title), h("button", { type: "button", class: "button icon", "aria-label": _("Close"), autofocus: true, onclick: () => get("viewer").close() }, "✕")), h("img", { src: imageOf(id), alt: column.title }), h("p", { class: "small mono" }, shown.prompt));
  get("viewer").showModal();
}

function showProblem(error) {
  get("image-problem").replaceChildren(...(error ? [problemNote(error), h("div", { class: "row" }, h("button", { type: "button", class: "button small", onclick: () => { showProblem(null); cells.again(); } }, _("Try again")))] : []));
}

function showBusy(state) {
  get("image-problem").replaceChildren(...(state ? [busyNote(state)] : []));
  for (const key of buttons.keys()) paint(key);
}

connect();
show();
if (job.is_alive || job.is_waiting) setTimeout(look, SECONDS * 1000);
