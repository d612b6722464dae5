// The choices of a merge of checkpoints: the method, the base, weights by block, text encoder and VAE.
import { h } from "./dom.js";
import { field, numberField, radioCards, selectField } from "./work_form.js";
import { _ } from "./text.js";

const LETTERS = "ABCDEFGHIJKLMNOPQRST";
const TAKES_BASE = ["add-difference", "ties", "dare"];
export const takesBase = (work) => TAKES_BASE.includes(work.method);
export const letter = (number) => LETTERS[number];

const simple = () => [
  { key: "weighted-sum", title: _("Weighted sum"), help: _("A and B in one model; the slider says how much of B.") },
  { key: "sum", title: _("Weighted sum of several"), help: _("Any number of models, each with its share.") },
  { key: "add-difference", title: _("Add difference"), help: _("A plus the difference between B and the model that B was trained on: puts a training onto another base model.") },
];
const further = () => [
  { key: "slerp", title: "SLERP", help: _("From A to B on an arc: keeps contrast where both point in different directions.") },
  { key: "ties", title: "TIES", help: _("Several trainings of one base: only differences that agree in sign.") },
  { key: "dare", title: "DARE", help: _("Several trainings of one base: a random share of each difference, enlarged.") },
];

export const methodCards = (page) => radioCards("method", _("Method"), simple(), page.work.method, (value) => page.setMethod(value));

export const isForTwo = (work) => ["weighted-sum", "slerp"].includes(work.method);

export function baseField(page) {
  const isNeeded = page.work.method === "add-difference";
  const none = isNeeded ? [["", _("Choose a model …")]] : [["", _("A itself")]];
  return selectField("base", _("The model that B was trained on (C)"), [...none, ...page.checkpoints()], page.work.base, (value) => page.setBase(value), isNeeded ? _("The difference between B and C is added to A.") : _("Differences are taken from it."));
}

export function advancedChoices(page) {
  const { work } = page;
  const letters = page.files.map((file, number) => [letter(number), `${letter(number)}: ${file.name}`]);
  const vaes = page.all.filter((file) => file.kind === "vae").map((file) => [file.id, file.name]);
  const limits = [];
  if (["ties", "dare"].includes(work.method)) limits.push(numberField("density", _("Share of each difference that is kept"), work.density ?? 0.5, { min: 0.01, max: 1, step: 0.05 }, (value) => page.set({ density: value ?? undefined })));
  if (work.method === "dare") limits.push(numberField("seed", _("Seed"), work.seed ?? 1, { min: 0, step: 1 }, (value) => page.set({ seed: value ?? undefined })));
  return [
    radioCards("method", _("Method"), further(), work.method, (value) => page.setMethod(value)),
    h("div", { class: "work-fields" }, ...limits,
      selectField("text-encoder", _("Text encoder"), [["merge", _("merged like the U-Net")], ...letters], work.text_encoder ?? "merge", (value) => page.set({ text_encoder: value })),
      selectField("vae", "VAE", [...letters, ["merge", _("merged; often gives grey images")], ...vaes], work.vae ?? "A", (value) => page.set({ vae: value }))),
    work.method !== "sum" && page.files.length === 2 ? blockChoices(page) : null,
  ];
}

// A preset fills in the numbers, and each can then be changed.
function blockChoices(page) {
  const { blocks, presets } = page.found ?? { blocks: [], presets: {} };
  const values = page.blockValues;
  const options = [["", _("the same everywhere")], ["own", _("own numbers")], ...Object.keys(presets).map((name) => [name, name])];
  const choose = (name) => {
    page.preset = name;
    if (name === "") page.blockValues = null;
    else if (name === "own") page.blockValues = page.blockValues ?? blocks.map(() => page.weightOf(1));
    else page.blockValues = [...presets[name]];
    page.setBlocks();
  };
  const inputs = values && h("div", { class: "blocks", role: "group", "aria-label": _("Weight of each block") }, ...blocks.map((name, place) => h("label", {}, name, h("input", { type: "number", id: `block-${name}`, step: "any", value: Number(values[place].toFixed(3)), oninput: (event) => {
    if (Number.isNaN(event.target.valueAsNumber)) return;
    values[place] = event.target.valueAsNumber;
    page.preset = "own";
    document.getElementById("blocks").value = "own";
    page.setBlocks(false);
  } }))));
  return h("div", { class: "stack" }, field("blocks", _("Weights by block"), h("select", { onchange: (event) => choose(event.target.value), disabled: !blocks.length }, ...options.map(([key, word]) => h("option", { value: key, selected: key === (page.preset ?? "") }, word))), _("How much of B each block of the U-Net gets: IN are the layers on the way in, M00 the middle, OUT those on the way out. BASE is the text encoder.")), inputs);
}

