// The page Generate: the form and what it remembers, an order and its progress, and the history.
import { ServerError, ask } from "./api.js";
import { LOOK_SECONDS, busyNote, readState } from "./busy.js";
import { confirmLoss } from "./dialog.js";
import { announce, get, h } from "./dom.js";
import { connect } from "./live.js";
import { Networks } from "./networks.js";
import { Sources } from "./sources.js";
import { Stage } from "./stage.js";
import { _, gap, ngettext, number } from "./text.js";
import { toast } from "./toast.js";

const REMEMBERED = "tetrad-generate";
const SIZES = ["512x512", "512x768", "768x512", "768x768", "1024x1024", "832x1216", "1216x832"];
const data = JSON.parse(get("data").textContent);
const form = get("settings");
const last = { done: () => {}, cancelled: () => {}, gave_way: showGaveWay, error: showError };
let history = data.history;
let order = "";
let events = null;
let images = []; // of the order that is worked on

// ---- the form ----

get("size").append(h("option", { value: "0x0" }, _("the model's own")), ...SIZES.map((size) => h("option", { value: size }, size.replace("x", " × "))), h("option", { value: "own" }, _("Other…")));
get("size").addEventListener("change", () => {
  const isOwn = get("size").value === "own";
  if (!isOwn) [get("width").value, get("height").value] = get("size").value.split("x");
  showSize(isOwn);
});

function showSize(isOwn) {
  const size = `${get("width").value}x${get("height").value}`;
  if (isOwn && size === "0x0") [get("width").value, get("height").value] = [512, 512];
  get("size").value = isOwn || ![...get("size").options].some((option) => option.value === size) ? "own" : size;
  get("own-width").hidden = get("own-height").hidden = get("size").value !== "own";
}

const networks = new Networks(get("prompt"), get("negative_prompt"), change);
const sources = new Sources({ readSettings: readForm, useSettings, onChange: change });
const stage = new Stage({ use: (image) => { useSettings({ ...image.settings, seed: image.seed }); toast(_("The settings are filled in.")); }, start: startFrom, paint: async (image) => { startFrom(image); await sources.paint(); }, remove, select });

function readForm() {
  const settings = { init_image: sources.start, mask: sources.mask };
  for (const field of form.elements) {
    if (!field.name) continue;
    const isNumber = field.type === "number" || field.type === "range";
    settings[field.name] = field.type === "checkbox" ? field.checked : isNumber ? Number(field.value) : field.value;
  }
  return settings;
}

function useSettings(settings) {
  for (const field of form.elements) {
    if (!field.name || settings[field.name] === undefined) continue;
    if (field.type === "checkbox") field.checked = settings[field.name];
    else if (field.tagName !== "SELECT" || [...field.options].some((option) => option.value === settings[field.name])) field.value = settings[field.name];
  }
  if (settings.init_image !== undefined) sources.setStart(settings.init_image, settings.mask);
  if (settings.clip_skip || settings.cfg_rescale || settings.prediction_type) document.querySelector(".more-settings").open = true;
  showSize(false);
  sources.showStrength();
  networks.later();
}

function change() {
  localStorage.setItem(REMEMBERED, JSON.stringify(readForm()));
  const count = Math.max(1, Number(get("num_images").value) || 1);
  get("generate").textContent = ngettext("Generate {count} image", "Generate {count} images", count);
  const hasNetworks = networks.list().length > 0;
  get("compare").closest("label").hidden = !hasNetworks;
}
form.addEventListener("input", change);
get("random-seed").addEventListener("click", () => { get("seed").value = -1; change(); });

async function loadChoices() {
  const choices = await ask("GET", "/api/generate/choices");
  const remembered = recall();
  for (const [id, list] of [["model", choices.models.slice(1)], ["vae", choices.vaes]]) {
    get(id).append(...list.map((each) => h("option", { value: each.id }, each.name)));
    const wanted = (id === "model" && data.start.model) || remembered[id];
    if (list.some((each) => each.id === wanted)) get(id).value = wanted;
  }
  networks.setChoices(choices.networks);
}

function recall() {
  try {
    return JSON.parse(localStorage.getItem(REMEMBERED)) ?? {};
  } catch {
    return {};
  }
}

// ---- an order ----

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  if (order) return;
  clearProblem();
  setWorking(_("Waiting…"), 0);
  try {
    const { compare, ...settings } = readForm();
    const { id } = await ask("POST", "/api/generate/orders", { ...settings, compare: compare && networks.list().length > 0 });
    follow(id);
  } catch (error) {
    if (!(error instanceof ServerError)) throw error;
    setWorking(null);
    showError({ text: error.message, code: error.answer?.code ?? "" });
  }
});
form.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); form.requestSubmit(); }
});
get("cancel").addEventListener("click", () => { if (order) ask("DELETE", `/api/generate/orders/${order}`); });

function follow(id) {
  order = id;
  images = [];
  setWorking(_("Waiting…"), 0);
  events = new EventSource(`/api/generate/orders/${id}/events`);
  events.onmessage = ({ data: text }) => {
    const event = JSON.parse(text);
    if (event.event in last) {
      finish();
      last[event.event](event);
    } else if (event.event === "waiting") setWorking(event.before ? ngettext("Waiting for {count} other order…", "Waiting for {count} other orders…", event.before) : _("Waiting…"), 0);
    else if (event.event === "loading") setWorking(_("Loading the model…"), 0);
    else if (event.event === "loaded") setWorking(_("The model is loaded."), 0);
    else if (event.event === "note") addNote(event);
    else if (event.event === "step") setWorking(event.without ? _("Without networks: step {step} of {steps}", event) : _("Step {step} of {steps}", event), (100 * event.step) / event.steps);
    else if (event.event === "image" || event.event === "without") addImage(event.image);
  };
}

function finish() {
  events.close();
  order = "";
  setWorking(null);
  if (images.length) announce(ngettext("{count} image is ready.", "{count} images are ready.", images.length));
}

function setWorking(text, percent = 0) {
  const isWorking = text !== null;
  get("work").hidden = !isWorking;
  get("generate").setAttribute("aria-disabled", String(isWorking));
  if (!isWorking) return;
  get("work-text").textContent = text;
  get("work-bar").replaceChildren(h("svg", { class: "progress", viewBox: "0 0 100 8", preserveAspectRatio: "none", role: "progressbar", "aria-label": _("Progress"), "aria-valuemin": 0, "aria-valuemax": 100, "aria-valuenow": Math.round(percent) }, h("rect", { width: percent, height: 8 })));
}

function addImage(image) {
  const index = images.findIndex((each) => each.id === image.id);
  if (index < 0) {
    images.push(image);
    history = { total: history.total + 1, images: [image, ...history.images] };
  } else {
    images[index] = image;
    history.images = history.images.map((each) => (each.id === image.id ? image : each));
  }
  const shown = images.find((each) => each.id === stage.image?.id) ?? images[0];
  stage.set(shown, images);
  showHistory();
}

// ---- notes and errors, where the button is ----

function clearProblem() {
  get("problem").replaceChildren();
}

function addNote({ text, code }) {
  get("problem").append(h("div", { class: "note warn", role: "status" }, h("p", {}, text, " ", code && h("code", {}, code))));
}

function showError({ text, code }) {
  get("problem").append(h("div", { class: "note bad", role: "alert" }, h("p", {}, h("b", {}, _("Nothing was generated.")), gap, text, " ", code && h("code", {}, code))));
}

async function showGaveWay({ text }) {
  await look(text);
}

// While a training has the device: say so, with the way to it, and look now and then whether it has ended.
async function look(text = "") {
  const state = await readState();
  const busy = state?.busy || text;
  document.querySelector("[data-busy]")?.remove();
  if (busy) get("problem").append(busyNote({ busy, run: state?.run }));
  if (state?.busy) setTimeout(look, LOOK_SECONDS * 1000);
  return state;
}

// ---- history ----

const mates = (image) => history.images.filter((each) => each.order && each.order === image.order).reverse();

function select(image) {
  stage.set(image, mates(image));
  showHistory();
}

function showHistory() {
  get("history").hidden = !history.images.length;
  get("history-tiles").replaceChildren(...history.images.map((image) => h("li", {}, h("button", { type: "button", class: "tile", "aria-pressed": String(image.id === stage.image?.id), onclick: () => { select(image); get("stage").scrollIntoView({ block: "nearest" }); } },
    h("img", { src: `/api/images/${image.id}/thumbnail`, width: 112, height: 112, alt: image.settings.prompt || _("seed {seed}", { seed: image.seed }), loading: "lazy" })))));
  get("more-history").hidden = history.total <= history.images.length;
  get("more-history").textContent = _("All {count}", { count: number(history.total) });
}
get("more-history").addEventListener("click", async () => {
  history = await ask("GET", "/api/generate/history?count=500");
  showHistory();
});

function startFrom(image) {
  sources.setStart(image.id);
  get("start").scrollIntoView({ block: "center" });
}

async function remove(image) {
  const text = image.has_without ? _("The image and the one without networks are deleted from this computer. Copies that you saved stay.") : _("The image is deleted from this computer. Copies that you saved stay.");
  if (!(await confirmLoss({ title: _("Delete this image?"), text, keep: _("Keep it"), lose: _("Delete the image") }))) return;
  await ask("DELETE", `/api/images/${image.id}`);
  const index = history.images.findIndex((each) => each.id === image.id);
  history = { total: history.total - 1, images: history.images.filter((each) => each.id !== image.id) };
  const next = history.images[Math.min(index, history.images.length - 1)] ?? null;
  if (next) select(next);
  else { stage.set(null, []); showHistory(); }
  toast(_("The image is deleted."));
}

// ---- start ----

useSettings({ ...recall(), ...data.start });
if (data.start.prompt) window.history.replaceState(null, "", "/generate");
if (history.images.length) select(history.images[0]);
change();
networks.check();
loadChoices();
look().then((state) => { if (state?.order) follow(state.order); });
connect();
