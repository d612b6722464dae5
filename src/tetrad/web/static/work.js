// Merge, extract, resize or convert the files in the page's address: the choices, a preview of what is written, and the start.
import { ask, press, ServerError } from "./api.js";
import { copyText } from "./clipboard.js";
import { get, h } from "./dom.js";
import { connect } from "./live.js";
import { advancedChoices, baseField, isForTwo, letter, methodCards, takesBase } from "./work_merge.js";
import { intoField, limitFields, modelField } from "./work_lora.js";
import { card, checkField, numberField, selectField, textField, weightControl } from "./work_form.js";
import { about, begin, BUILTIN, loadRows, problemNote, showNothing, thumb } from "./work_rows.js";
import { _, ngettext } from "./text.js";

const WAIT = 300; // ms after the last change
const { work: kindOfWork } = JSON.parse(get("data").textContent);
const FORMATS = {
  "convert-checkpoint": { safetensors: () => _("one .safetensors file"), ckpt: () => _("one .ckpt file, for old programs"), diffusers: () => _("a diffusers folder") },
  "convert-lora": { kohya: () => _("kohya’s names, as a plain LoRA"), diffusers: () => _("diffusers’ names, as a plain LoRA"), lycoris: () => _("kohya’s names, every tensor as it is") },
  "convert-embedding": { safetensors: () => ".safetensors", pt: () => _(".pt, as A1111 saves it"), png: () => _("an image with the embedding inside") },
  "convert-hypernetwork": { kohya: () => _("a LoRA with kohya’s names"), diffusers: () => _("a LoRA with diffusers’ names") },
  "convert-other": { safetensors: () => _("one .safetensors file"), ckpt: () => _("one .ckpt file, for old programs") },
  "merge-embedding": { safetensors: () => ".safetensors", pt: () => _(".pt, as A1111 saves it"), png: () => _("an image with the embedding inside") },
};
const PRECISIONS = ["fp32", "fp16", "bf16"];
const LEADS = {
  merge: () => _("Nothing is overwritten: the result is a new file, whose metadata say what it was made of."),
  extract: () => _("The difference between two checkpoints as a LoRA: what training has changed from the first to the second."),
  resize: () => _("The same LoRA with lower ranks; the result says how much is lost. Other kinds of LoRA become plain ones."),
  convert: () => _("The file itself is not changed. The result says what the new format cannot hold."),
};

const page = {
  all: [], files: [], work: { task: "" }, found: null, blockValues: null, preset: "", weights: new Map(), base: null,
  checkpoints(withBuiltin = true) {
    const own = new Set(page.files.map((file) => file.id));
    return [...(withBuiltin ? [[BUILTIN, _("the built-in model")]] : []), ...page.all.filter((file) => file.kind === "checkpoint" && !own.has(file.id)).map((file) => [file.id, file.name])];
  },
  // Values that are undefined are those of the command.
  set(values, isShown = false) {
    Object.assign(page.work, values);
    if (isShown) show();
    else preview();
  },
  weightOf: (place) => page.weights.get(page.files[place].id),
  setMethod(method) {
    const isSum = method === "sum";
    if (isSum !== (page.work.method === "sum")) resetWeights(method);
    page.work.method = method;
    if (!takesBase(page.work) && page.base) { page.files.push(page.base); page.base = null; page.work.base = ""; resetWeights(method); }
    if (takesBase(page.work) && !page.base && page.files.length > 2) {
      page.base = page.files.pop();
      page.work.base = page.base.id;
    }
    if (method === "weighted-sum" || method === "slerp") page.weights.set(page.files[1]?.id, 0.5);
    else if (!isSum) for (const file of page.files.slice(1)) page.weights.set(file.id, 1);
    Object.assign(page.work, { density: undefined, seed: undefined, blocks: undefined });
    Object.assign(page, { blockValues: null, preset: "" });
    show();
  },
  setBase(id) {
    if (page.base && page.base.id !== id) page.base = null;
    page.set({ base: id });
  },
  setBlocks(isShown = true) {
    page.set({ blocks: page.blockValues ? page.blockValues.map((value) => Number(value.toFixed(4))).join(",") : undefined }, isShown);
  },
};

function resetWeights(method = "") {
  const share = Number((1 / page.files.length).toFixed(2));
  page.weights = new Map(page.files.map((file) => [file.id, method === "sum" ? share : 1]));
}

// ---------- what is asked for ----------

const isCheckpointMerge = () => page.work.task === "merge-checkpoint";
const hasWeights = () => page.work.task.startsWith("merge-") && (page.work.task !== "merge-embedding" || page.work.average);

function body() {
  const isSum = isCheckpointMerge() && page.work.method === "sum";
  const total = [...page.files].reduce((sum, file) => sum + page.weights.get(file.id), 0) || 1;
  const weight = (file) => (hasWeights() ? page.weights.get(file.id) / (isSum ? total : 1) : 1);
  return { ...page.work, files: page.files.map((file) => ({ id: file.id, weight: Number(weight(file).toFixed(4)) })) };
}

const whatIsMissing = () => {
  const { work, files } = page;
  if (isCheckpointMerge() && files.length < 2) return _("Two checkpoints or more are needed.");
  if (isCheckpointMerge() && isForTwo(work) && files.length > 2) return _("This method takes two models. Remove one, or choose the weighted sum of several.");
  if (work.method === "add-difference" && !work.base) return _("Choose the model that B was trained on.");
  if (["merge-embedding", "merge-hypernetwork"].includes(work.task) && files.length < 2) return _("Two files or more are needed.");
  if (work.task === "convert-hypernetwork" && !work.model) return _("Choose the model that the hypernetwork was trained on.");
  if (work.task === "resize" && work.rank === undefined && work.energy === undefined && work.max_size === undefined) return _("Choose a rank, an energy or a file size.");
  return "";
};

let timer;
let round = 0;

function preview() {
  clearTimeout(timer);
  timer = setTimeout(askPreview, WAIT);
}

async function askPreview() {
  const mine = ++round;
  const missing = whatIsMissing();
  if (missing) return showPreview(null, null, missing);
  try {
    const found = await ask("POST", "/api/files/preview", body());
    if (mine !== round) return undefined;
    const isFirst = page.found === null || JSON.stringify(page.found.blocks) !== JSON.stringify(found.blocks) || JSON.stringify(page.found.folders) !== JSON.stringify(found.folders);
    page.found = found;
    const name = document.getElementById("name");
    if (name) name.placeholder = found.name ?? "";
    if (isFirst) show(false);
    return showPreview(found, null, "");
  } catch (error) {
    if (!(error instanceof ServerError)) throw error;
    return mine === round ? showPreview(null, error, "") : undefined;
  }
}

// ---------- what is shown ----------

function show(asks = true) {
  const focused = document.activeElement?.id;
  const isOpen = get("advanced")?.open ?? false;
  const main = h("div", { class: "stack loose" }, filesCard(), choicesCard(), resultCard(), advancedCard());
  if (get("main-column")) get("main-column").replaceChildren(main);
  else get("work").replaceChildren(h("div", { class: "split" }, h("div", { id: "main-column" }, main), h("aside", { class: "stack sticky" }, h("section", { class: "card stack", id: "preview", "aria-label": _("What is written") }))));
  if (get("advanced")) get("advanced").open = isOpen;
  if (focused) get(focused)?.focus();
  if (!get("go")) showPreview(null, null, _("Reading the files …"));
  if (asks) preview();
}

function filesCard() {
  const rows = page.files.map(fileRow);
  const extra = isCheckpointMerge() && takesBase(page.work) ? [h("div", { class: "work-fields" }, baseField(page))] : [];
  return card("h-files", page.work.task === "extract" ? _("From") : ngettext("{count} file", "{count} files", page.files.length), h("ul", { class: "parents" }, ...rows), ...extra, page.work.task === "extract" ? extractionFields() : null);
}

function fileRow(file, place) {
  const isMany = page.files.length > 1;
  const isOrdered = isMany && (isCheckpointMerge() || page.work.task === "merge-embedding" || page.work.task === "merge-hypernetwork" || page.work.task === "extract");
  const button = (sign, label, id, work) => h("button", { type: "button", id, class: "button icon small ghost", "aria-label": label, title: label, onclick: work }, sign);
  const least = page.work.task === "merge-lora" ? 1 : page.work.task === "extract" ? 1 : 2;
  return h("li", { class: "parent" }, isCheckpointMerge() && h("span", { class: "letter" }, letter(place)), thumb(file),
    h("div", { class: "grow" }, h("span", { class: "name" }, file.name), h("br"), h("span", { class: "small quiet" }, role(place) || about(file))),
    weightOf(file, place),
    h("div", { class: isOrdered ? "row moves" : "row" }, isOrdered && place > 0 ? button("↑", _("Move {name} up", { name: file.name }), `up-${file.id}`, () => move(place)) : null,
      page.files.length > least ? button("✕", _("Leave {name} out", { name: file.name }), `out-${file.id}`, () => leaveOut(place)) : null));
}

const role = (place) => {
  if (page.work.task !== "extract") return "";
  return page.files.length > 1 && place === 0 ? _("the base: what the other one was trained from") : _("the tuned model: what its training changed becomes the LoRA");
};

function weightOf(file, place) {
  const { work } = page;
  if (!hasWeights() || (isCheckpointMerge() && work.method !== "sum" && place === 0)) return null;
  const store = (value) => { page.weights.set(file.id, value); preview(); };
  const range = work.task === "merge-lora" || work.task === "merge-hypernetwork" ? { min: -1, max: 2 } : { min: 0, max: 1 };
  const help = isCheckpointMerge() && isForTwo(work) ? _("0 is all of A, 1 is all of B") : isCheckpointMerge() && work.method === "sum" ? _("its share; together they count as 1") : "";
  return weightControl(`weight-${file.id}`, _("Weight of {name}", { name: file.name }), page.weights.get(file.id), { ...range, help }, store);
}

function move(place) {
  const [file] = page.files.splice(place, 1);
  page.files.splice(place - 1, 0, file);
  if (isCheckpointMerge() && page.work.method !== "sum") page.weights = new Map(page.files.map((each, number) => [each.id, number ? page.weights.get(file.id) : 1]));
  show();
}

function leaveOut(place) {
  page.files.splice(place, 1);
  show();
  get("h-files").setAttribute("tabindex", "-1");
  get("h-files").focus();
}

function extractionFields() {
  if (page.files.length > 1) return h("p", { class: "help" }, _("If the order is wrong, move the other file up."));
  return h("div", { class: "work-fields" }, selectField("base", _("Its base model"), [["", _("found by its run or its metadata")], ...page.checkpoints()], page.work.base ?? "", (value) => page.set({ base: value })));
}

function choicesCard() {
  const { task } = page.work;
  if (isCheckpointMerge()) return card("h-how", _("How?"), methodCards(page));
  if (task === "merge-lora") return card("h-how", _("How?"), h("div", { class: "work-fields" }, intoField(page)), page.work.into ? null : limitFields(page, _("exact: all ranks, side by side")));
  if (task === "merge-embedding") return card("h-how", _("How?"), h("div", { class: "work-fields" }, selectField("average", _("Vectors"), [["", _("one after another: all of them work")], ["average", _("together, as a weighted average")]], page.work.average ? "average" : "", (value) => page.set({ average: value !== "" }, true)), formatField()));
  if (task === "merge-hypernetwork") return null;
  if (task === "extract") return card("h-how", _("How large?"), limitFields(page, _("rank 32")), checkField("convolutions", _("3×3 convolutions too; they often hold most of the change"), page.work.convolutions ?? true, (value) => page.set({ convolutions: value })));
  if (task === "resize") return card("h-how", _("How large?"), limitFields(page, ""));
  const model = task === "convert-hypernetwork" && modelField(page, _("With this model, the LoRA has the same effect as the hypernetwork."), _("The model that it was trained on"), _("Choose one"));
  return card("h-how", _("Into what?"), h("div", { class: "work-fields" }, formatField(), model || null));
}

function formatField() {
  const formats = Object.entries(FORMATS[page.work.task]).map(([key, word]) => [key, word()]);
  return selectField("to", _("Format"), formats, page.work.to ?? formats[0][0], (value) => page.set({ to: value }, true));
}

const hasPrecision = () => !["merge-embedding", "merge-hypernetwork"].includes(page.work.task) && !(page.work.task === "convert-embedding" && (page.work.to ?? "safetensors") !== "safetensors");

function resultCard() {
  const folders = page.found?.folders ?? [];
  const own = { extract: "fp16" }[page.work.task] ?? _("as it is");
  const precisions = page.work.task.startsWith("convert-") && page.work.task !== "convert-embedding" ? [...PRECISIONS, "fp8"] : PRECISIONS;
  return card("h-result", _("Result"), h("div", { class: "work-fields" },
    textField("name", _("Name"), page.work.name ?? "", (value) => page.set({ name: value }), { placeholder: page.found?.name ?? "" }),
    hasPrecision() ? selectField("precision", _("Precision"), [["", own], ...precisions.map((each) => [each, each])], page.work.precision ?? "", (value) => page.set({ precision: value })) : null,
    folders.length > 1 ? selectField("folder", _("Folder"), folders.map((each) => [each.id, each.path]), page.work.folder || folders[0].id, (value) => page.set({ folder: value })) : null));
}

function advancedCard() {
  const fields = advancedFields().filter(Boolean);
  if (!fields.length) return h("div", { hidden: true });
  return h("details", { class: "card", id: "advanced" }, h("summary", {}, h("h2", { class: "inline" }, _("Advanced"))), h("div", { class: "stack advanced" }, ...fields));
}

function advancedFields() {
  const { task, into } = page.work;
  const ranks = () => numberField("new-rank", _("Rank of the new LoRA"), page.work.rank, { min: 1, max: 4096, step: 1, placeholder: _("as large as needed") }, (value) => page.set({ rank: value ?? undefined }));
  const model = (help) => modelField(page, help);
  if (isCheckpointMerge()) return advancedChoices(page);
  if (task === "merge-lora" && !into) return [h("div", { class: "work-fields" }, model(_("A DoRA and an OFT need it, and LoRAs for a model of unusual size.")), convRank())];
  if (task === "resize") return [h("div", { class: "work-fields" }, model(_("A DoRA and an OFT need it, and LoRAs for a model of unusual size.")), convRank())];
  if (task === "extract") return [h("div", { class: "work-fields" }, convRank())];
  if (task === "convert-checkpoint") {
    return [h("div", { class: "work-fields" },
      selectField("ema", _("EMA weights"), [["keep", _("kept beside the others")], ["drop", _("left out")], ["use", _("used instead of the others")]], page.work.ema ?? "keep", (value) => page.set({ ema: value })),
      selectField("prediction", _("The model predicts"), [["", _("what its file says")], ["epsilon", _("noise (epsilon)")], ["v", _("v")]], page.work.prediction_type ?? "", (value) => page.set({ prediction_type: value })))];
  }
  if (task === "convert-lora") {
    const embeddings = page.all.filter((file) => file.kind === "embedding").map((file) => [file.id, file.name]);
    return [h("div", { class: "work-fields" }, model(_("A DoRA and an OFT need it to become plain LoRAs.")), ranks(),
      selectField("bundle", _("Put an embedding inside"), [["", _("none")], ...embeddings], page.work.bundle ?? "", (value) => page.set({ bundle: value }))),
    checkField("split", _("Write embeddings that are inside as files beside the result"), page.work.split ?? false, (value) => page.set({ split: value }))];
  }
  if (task === "convert-hypernetwork") return [h("div", { class: "work-fields" }, ranks(), numberField("strength", _("Strength of the hypernetwork"), page.work.strength ?? 1, { min: -10, max: 10, step: 0.05 }, (value) => page.set({ strength: value ?? undefined })))];
  return [];
}

const convRank = () => numberField("conv-rank", _("Rank of 3×3 convolutions, at most"), page.work.conv_rank, { min: 1, max: 4096, step: 1, placeholder: _("as the others") }, (value) => page.set({ conv_rank: value ?? undefined }));

const START = { merge: () => _("Merge"), extract: () => _("Extract the LoRA"), resize: () => _("Make it smaller"), convert: () => _("Convert") };

function showPreview(found, error, missing) {
  const go = h("button", { type: "button", class: "button primary tall", id: "go", "data-writes": Boolean(found), "aria-disabled": found ? null : "true", onclick: (event) => press(event.currentTarget, start) }, START[kindOfWork]());
  const pair = (name, value, mono = false) => (value ? [h("dt", {}, name), h("dd", { class: mono ? "mono" : "" }, value)] : []);
  const hadFocus = document.activeElement?.id === "go";
  get("preview").replaceChildren(go,
    ...(missing ? [h("p", { class: "help", role: "status" }, missing)] : []),
    ...(error ? [problemNote(error)] : []),
    ...(found ? [
      h("dl", { class: "pairs left preview" }, ...pair(_("New file"), found.target, true), ...pair(_("Size"), found.size && _("about {size}", { size: found.size })), ...pair(_("Left on the disk"), found.free)),
      h("p", { class: "help" }, _("It runs in the queue, also when this page is closed. The file appears when it is complete.")),
      h("hr"), h("button", { type: "button", class: "button small", onclick: () => copyText(found.command) }, _("Copy as command")),
      h("details", {}, h("summary", { class: "small" }, _("Show the command")), h("pre", { class: "code" }, found.command))] : []));
  if (hadFocus) get("go").focus();
}

async function start() {
  const { address } = await ask("POST", "/api/files/jobs", body());
  location.href = address;
}

// ---------- the beginning ----------

function chooseTask() {
  const kinds = new Set(page.files.map((file) => file.kind));
  if (kindOfWork === "extract" || kindOfWork === "resize") return kindOfWork;
  if (kindOfWork === "convert") return `convert-${FORMATS[`convert-${page.files[0].kind}`] ? page.files[0].kind : "other"}`;
  return `merge-${kinds.has("lora") ? "lora" : page.files[0].kind}`;
}

async function load() {
  const { all, chosen } = await loadRows();
  if (!chosen.length) return showNothing();
  Object.assign(page, { all, files: chosen });
  const task = chooseTask();
  page.work = { task };
  if (task === "merge-lora") {
    const checkpoint = chosen.find((file) => file.kind === "checkpoint");
    page.files = chosen.filter((file) => file.kind === "lora");
    if (checkpoint) page.work.into = checkpoint.id;
  }
  if (task === "resize") page.work.rank = 8;
  resetWeights();
  get("lead").textContent = LEADS[kindOfWork]();
  if (task === "merge-checkpoint") page.setMethod(chosen.length === 2 ? "weighted-sum" : "sum");
  else show();
  return undefined;
}

connect();
begin(load);
