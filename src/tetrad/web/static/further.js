// Further folders of images that are trained on beside those of the page, with how often each of their images is used.
import { ask, press, ServerError } from "./api.js";
import { get, h } from "./dom.js";
import { address, draft, ensureDraft } from "./draft.js";
import { _, ngettext } from "./text.js";
import { toast } from "./toast.js";

let folders = [];
let onChange = () => {};

export const countFurther = () => folders.reduce((sum, each) => sum + (each.is_class_images ? 0 : each.images), 0);

export async function startFurther(work) {
  onChange = work;
  get("further-form").addEventListener("submit", add);
  if (draft) show(await ask("GET", address("/folders")));
}

function show(found) {
  folders = found;
  get("further-list").hidden = !found.length;
  get("further-list").replaceChildren(...found.map(makeRow));
  if (found.length) get("further-details").open = true;
  onChange();
}

function makeRow(folder, number) {
  const words = folder.problem || (folder.is_class_images ? ngettext("{count} class image", "{count} class images", folder.images) : ngettext("{count} image", "{count} images", folder.images));
  const repeats = h("input", {
    type: "number", min: 1, max: 10000, step: 1, value: folder.repeats ?? "", placeholder: folder.usual_repeats,
    onchange: (event) => change(number, event.currentTarget),
  });
  return h("li", { class: "row between" },
    h("div", { class: "about" }, h("b", { class: "wrap-any" }, folder.name), h("span", { class: "line quiet mono wrap-any" }, folder.path), h("span", { class: folder.problem ? "line bad-text" : "line" }, words)),
    h("div", { class: "row" }, h("label", {}, _("Repeats"), repeats),
      h("button", { type: "button", class: "button small ghost", "aria-label": _("Remove {name}", { name: folder.name }), onclick: (event) => press(event.currentTarget, () => remove(number, folder)) }, _("Remove"))));
}

async function add(event) {
  event.preventDefault();
  get("further-error").textContent = "";
  try {
    await ensureDraft();
    show(await ask("POST", address("/folders"), { path: get("further-path").value }));
    get("further-path").value = "";
  } catch (error) {
    if (!(error instanceof ServerError)) throw error;
    get("further-error").textContent = error.message;
  }
}

async function change(number, input) {
  if (!input.reportValidity()) return;
  try {
    folders = await ask("PATCH", address(`/folders/${number}`), { repeats: input.value ? Number(input.value) : null });
    onChange();
  } catch (error) {
    if (!(error instanceof ServerError)) throw error;
    get("further-error").textContent = error.message;
  }
}

async function remove(number, folder) {
  show(await ask("DELETE", address(`/folders/${number}`)));
  toast(_("{name} is no longer used for training; its files stay.", { name: folder.name }));
}
