// How: the methods for these images, the base model and its VAE, how long it trains, and every setting.
import { ask, press, ServerError } from "./api.js";
import { Advanced } from "./advanced.js";
import { badge, get, h } from "./dom.js";
import { address, adopt, draft, storeNow } from "./draft.js";
import { connect } from "./live.js";
import { _, gap, ngettext, number } from "./text.js";

const ORDER = ["lora", "dreambooth", "textual-inversion", "hypernetwork"];
let compared = null;
let plan = null;
const advanced = new Advanced({ onChange: () => showPlan() });

// ---- methods ----

async function compare() {
  try {
    compared = await ask("GET", address("/methods"));
  } catch (error) {
    if (!(error instanceof ServerError)) throw error;
    showError("methods-error", error.message);
    get("reason").textContent = "";
    get("methods").replaceChildren();
    return false;
  }
  showError("methods-error", "");
  adopt(compared.draft);
  get("reason").replaceChildren(h("b", {}, compared.best_title), " ", _("is recommended: {reason}.", { reason: compared.reason }), gap, ngettext("Times, with previews, and memory are for your {count} image on this computer.", "Times, with previews, and memory are for your {count} images on this computer.", compared.images));
  showMethods();
  return true;
}

function showMethods() {
  const focused = document.activeElement?.name === "method";
  const methods = [...compared.methods].sort((one, two) => ORDER.indexOf(one.method) - ORDER.indexOf(two.method));
  get("methods").replaceChildren(...methods.map(makeMethod));
  if (focused) get("methods").querySelector("input:checked")?.focus();
}

function makeMethod(found) {
  const isOver = !found.fits;
  const row = (title, value, mono = false) => h("span", { class: "p" }, h("span", {}, title), h("b", { class: mono ? "mono" : "" }, value));
  const bar = h("svg", { class: `bar ${isOver ? "bad" : ""}`, viewBox: "0 0 100 6", preserveAspectRatio: "none", "aria-hidden": "true" }, h("rect", { width: found.share, height: 6 }));
  const state = isOver
    ? [badge(_("does not fit"), "bad"), h("span", {}, _("It needs {memory}.", found))]
    : [badge(_("fits"), "ok"), h("span", { class: "quiet" }, found.option_names ? _("with {options}", { options: found.option_names }) : _("{spare} to spare", found))];
  return h(
    "div", { class: "card choice method" },
    h(
      "label", {},
      h("span", { class: "row between" }, h("span", { class: "row" }, h("input", { type: "radio", name: "method", value: found.method, checked: found.method === draft.method, onchange: () => chooseMethod(found) }), h("b", { class: "mname" }, found.title)), found.method === compared.best && h("span", { class: "badge plain run" }, _("recommended"))),
      h("span", { class: "small" }, _("Best for: {what}.", { what: found.good_at })),
      h("span", { class: "help" }, _("Limits: {what}.", { what: found.bad_at })),
      h("span", { class: "pairs" }, row(_("File"), found.file), row(_("Time"), found.time), row(_("In a prompt"), found.prompt, true), row(_("Memory, {free} free", found), found.memory)),
      bar,
    ),
    h("div", { class: `fix ${isOver ? "over" : ""}` }, ...state),
  );
}

// What another method needs to fit is taken back, what this one needs is set.
async function chooseMethod(found) {
  const settings = {};
  for (const each of compared.methods) {
    for (const [key, value] of Object.entries(each.options)) if (draft.settings[key] === value) settings[key] = null;
  }
  await save({ method: found.method, settings: { ...settings, ...found.options } });
  await advanced.load();
}

// ---- base model ----

async function showModels(model = "") {
  const found = await ask("GET", address(`/model?${new URLSearchParams({ model })}`));
  adopt({ ...draft, model: draft.model || found.model });
  get("models").replaceChildren(...found.models.map((each) => makeModel(each, found)));
  get("vae-name").textContent = found.vae;
  get("vae-name").hidden = found.vae_reason.toLowerCase().startsWith(found.vae.toLowerCase()); // the reason names it
  get("vae-reason").textContent = [found.vae_reason, ...found.vae_warnings].join(gap);
  showVaes(found.vaes, found.vae_mounted);
}

// "" is what counts without a choice here: the VAE that was mounted on the page VAE, or else the checkpoint's own.
function showVaes(names, mounted) {
  const own = _("the checkpoint’s own");
  const options = [["", mounted ? _("{vae}, as mounted under VAE", { vae: mounted }) : own], ...(mounted ? [["None", own]] : []), ...names.map((name) => [name, name])];
  get("vae-field").hidden = options.length < 2;
  get("vae").replaceChildren(...options.map(([value, text]) => h("option", { value, selected: value === draft.vae }, text)));
}

function makeModel(each, found) {
  const isChosen = each.path === found.model;
  const isBuiltin = each.path === "builtin";
  const about = isChosen ? `${found.family} · ${found.resolution} px · ${found.prediction === "v" ? "v" : "ε"}` : each.family;
  return h("li", {}, h(
    "label", { class: "choice-line" },
    h("input", { type: "radio", name: "base", checked: isChosen, onchange: () => chooseModel(each.path) }),
    h("span", {}, h("b", { class: "wrap-any" }, isBuiltin ? _("built-in") : each.name), h("br"), h("span", { class: "help" }, about), isBuiltin && h("span", { class: "help line" }, _("Emoji of 128 pixels, for trying things out. It is too small for photographs."))),
  ));
}

async function chooseModel(model) {
  showError("model-error", "");
  try {
    await showModels(model);
  } catch (error) {
    if (!(error instanceof ServerError)) throw error;
    get("model-error").textContent = error.message;
    get("model-error").closest("details").open = true;
    await showModels(draft.model);
    return;
  }
  await save({ model, vae: "" }, true);
}

get("model-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const path = get("model-path").value.trim();
  if (path) press(event.submitter ?? event.target.querySelector("button"), () => chooseModel(path));
});
get("vae").addEventListener("change", async () => {
  await save({ vae: get("vae").value });
  await showModels(draft.model);
});

// ---- how long ----

const LENGTHS = ["train.epochs", "train.steps"];

function showLength() {
  const isOwn = LENGTHS.some((key) => key in draft.settings);
  for (const each of get("quality").children) {
    const isChosen = !isOwn && each.dataset.quality === draft.quality;
    each.setAttribute("aria-checked", String(isChosen));
    each.tabIndex = isChosen || (isOwn && each.dataset.quality === "balanced") ? 0 : -1;
  }
  if (!plan) return;
  const shown = { "train.epochs": round(plan.epochs), "data.repeats": plan.repeats, "train.batch_size": plan.batch_size, "train.steps": plan.steps };
  for (const field of document.querySelectorAll(".sum [data-setting]")) {
    if (field !== document.activeElement) field.value = shown[field.dataset.setting];
  }
  get("images").textContent = number(plan.images);
  const views = _("Each image is seen {views} times.", { views: round(plan.views_per_image) });
  const saves = plan.files > 1 ? _("{files} files are saved on the way, to pick the best from.", { files: plan.files }) : "";
  get("length").textContent = [views, saves].filter(Boolean).join(gap);
  get("foot-text").textContent = _("{title} · {steps} steps · {time} · {memory} of {free}", { title: plan.title, steps: number(plan.steps), time: plan.time, memory: plan.memory, free: plan.free_memory });
}

const round = (value) => (value >= 20 ? Math.round(value) : Math.round(value * 10) / 10);

get("quality").addEventListener("click", (event) => {
  const { quality } = event.target.closest("button")?.dataset ?? {};
  if (quality) save({ quality, settings: { "train.epochs": null, "train.steps": null } }).then(() => advanced.load());
});
get("quality").addEventListener("keydown", (event) => {
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
  if (!step) return;
  event.preventDefault();
  const buttons = [...get("quality").children];
  const next = buttons[(buttons.indexOf(document.activeElement) + step + buttons.length) % buttons.length];
  next.click();
  next.focus();
});

for (const field of document.querySelectorAll(".sum [data-setting]")) {
  field.addEventListener("change", async () => {
    const key = field.dataset.setting;
    const settings = { [key]: field.value === "" ? null : Number(field.value) };
    for (const other of LENGTHS) if (LENGTHS.includes(key) && other !== key) settings[other] = null;
    await save({ settings });
    await advanced.load();
  });
}

// ---- together ----

async function save(values, comparesAgain = false) {
  try {
    await storeNow(values);
    showError("methods-error", "");
  } catch (error) {
    if (!(error instanceof ServerError)) throw error;
    showError("methods-error", error.message);
    return;
  }
  showLength();
  if (comparesAgain) await compare();
  await showPlan();
}

let asked = 0;

async function showPlan() {
  asked += 1;
  const mine = asked;
  get("foot-text").textContent = _("Planning …");
  try {
    const next = await ask("GET", address("/plan"));
    if (mine !== asked) return;
    plan = next;
    showError("methods-error", "");
    showLength();
  } catch (error) {
    if (!(error instanceof ServerError)) throw error;
    if (mine !== asked) return;
    get("foot-text").textContent = "";
    showError("methods-error", error.message);
  }
}

function showError(id, text) {
  const place = get(id);
  place.hidden = !text;
  (place.querySelector("p") ?? place).textContent = text;
}

connect();
showLength();
(async () => {
  advanced.load(); // anew below, once it is known which method it is for
  const models = showModels().catch((error) => { get("model-error").textContent = error.message; });
  if (await compare()) await Promise.all([models, showPlan()]);
  await advanced.load();
})();
