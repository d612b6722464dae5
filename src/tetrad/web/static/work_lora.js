// The choices for LoRAs: where they are merged to, and how large the result is.
import { h } from "./dom.js";
import { numberField, selectField } from "./work_form.js";
import { BUILTIN } from "./work_rows.js";
import { _ } from "./text.js";

const KEYS = { rank: "rank", energy: "energy", size: "max_size" };
const START = { rank: 32, energy: 0.9, size: 50 };

// How many ranks are kept; `exact` says in words what nothing limits, or is "" where there must be a limit.
export function limitFields(page, exact) {
  const { work } = page;
  const chosen = Object.keys(KEYS).find((key) => work[KEYS[key]] !== undefined) ?? "";
  const choose = (key) => page.set({ rank: undefined, energy: undefined, max_size: undefined, ...(key ? { [KEYS[key]]: START[key] } : {}) }, true);
  const options = [...(exact ? [["", exact]] : []), ["rank", _("a rank (dim)")], ["energy", _("a share of the change (energy)")], ["size", _("a file size")]];
  const value = {
    rank: () => numberField("rank", _("Rank, at most"), work.rank, { min: 1, max: 4096, step: 1 }, (number) => page.set({ rank: number ?? undefined }), _("In each layer.")),
    energy: () => numberField("energy", _("Share of the energy that is kept"), work.energy, { min: 0.01, max: 1, step: 0.01 }, (number) => page.set({ energy: number ?? undefined }), _("0.9 leaves out a tenth of the squared norm of each layer’s change; 1 keeps all.")),
    size: () => numberField("max-size", _("File size, at most (MB)"), work.max_size, { min: 0.1, step: "any" }, (number) => page.set({ max_size: number ?? undefined }), _("The ranks that hold most of the change for their bytes.")),
  }[chosen];
  return h("div", { class: "work-fields" }, selectField("limit", _("Size of the LoRA"), options, chosen, choose), value?.());
}

export const modelField = (page, help, label = page.files.length > 1 ? _("Their base model") : _("Its base model"), none = _("not needed")) => selectField("model", label, [["", none], ...page.checkpoints(true)], page.work.model ?? "", (value) => page.set({ model: value || undefined }), help);

export function intoField(page) {
  return selectField("into", _("Merge into"), [["", _("one LoRA")], ...page.checkpoints(true).map(([id, name]) => [id, id === BUILTIN ? name : _("the checkpoint {name}", { name })])], page.work.into ?? "", (value) => page.set({ into: value || undefined, rank: undefined, energy: undefined, max_size: undefined }, true),
    page.work.into ? _("The result is a whole model, which needs no LoRA in the prompt. A negative weight takes a LoRA out again.") : _("The result changes the model as all of them do together in a prompt."));
}
