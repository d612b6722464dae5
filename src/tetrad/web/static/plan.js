// Plan: what the run will do, need and write; copy it as a command, save it as a recipe, start it.
import { ask, press, ServerError } from "./api.js";
import { badge, get, h, unbroken } from "./dom.js";
import { address, adopt, draft, storeNow } from "./draft.js";
import { connect, enable } from "./live.js";
import { _, ngettext, number } from "./text.js";
import { toast } from "./toast.js";

let plan = null;

async function load() {
  setReady(false);
  try {
    plan = await ask("GET", address("/plan"));
  } catch (error) {
    if (!(error instanceof ServerError)) throw error;
    get("plan-error").hidden = false;
    get("plan-error").querySelector("p").replaceChildren(error.message, " ", h("span", { class: "quiet mono" }, error.answer?.code ?? ""));
    get("plan").hidden = true;
    get("state").textContent = _("It cannot be planned like this. Go back and change it.");
    return;
  }
  adopt(plan.draft);
  get("plan-error").hidden = true;
  get("plan").hidden = false;
  show();
  setReady(true);
}

function setReady(isReady) {
  for (const button of [...document.querySelectorAll("[data-start]"), get("copy")]) enable(button, isReady);
  get("save").hidden = !isReady;
}

function show() {
  const base = draft.model === "builtin" ? _("the built-in model") : draft.model.replaceAll("\\", "/").split("/").pop();
  get("title").textContent = _("{method} “{word}” on {model}", { method: plan.title, word: draft.trigger_word, model: base });
  get("state").textContent = draft.started ? _("A run of this plan was started. It can be started again.") : ngettext("{count} image · {length}", "{count} images · {length}", plan.images, { length: plan.length });
  const fact = (title, value, detail) => h("div", {}, h("dt", {}, title), h("dd", {}, value, h("br"), h("small", {}, detail)));
  const views = Math.round(plan.views_per_image);
  const device = plan.device === "cpu" ? _("CPU") : plan.device;
  get("facts").replaceChildren(
    fact(_("Time"), _("about {time}", { time: unbroken(plan.time) }), plan.previews ? ngettext("{device}, with previews {count} time", "{device}, with previews {count} times", plan.previews, { device }) : device),
    fact(_("Steps"), number(plan.steps), ngettext("each image {count} time", "each image {count} times", views)),
    fact(_("Memory"), plan.memory, _("{size} free", { size: plan.free_memory })),
    fact(_("Disk"), plan.disk, _("{size} free", { size: plan.free_disk })),
  );
  const bar = h("svg", { class: `bar wide ${plan.fits ? "" : "bad"}`, viewBox: "0 0 100 6", preserveAspectRatio: "none", "aria-hidden": "true" }, h("rect", { width: plan.share, height: 6 }));
  const line = (fits, text) => h("p", { class: "small row" }, badge(fits ? _("fits") : _("does not fit"), fits ? "ok" : "bad"), h("span", {}, text));
  get("fit").replaceChildren(h("div", { class: "stack tight" }, bar, line(plan.fits, _("{memory} of {free} memory", { memory: plan.memory, free: plan.free_memory })), line(plan.fits_disk, _("{disk} of {free} on the disk", { disk: plan.disk, free: plan.free_disk }))));
  showPrompts();
  const part = (name, text, size) => h("tr", { class: "plain" }, h("td", {}, h("b", { class: "mono wrap-any" }, name), h("br"), h("span", { class: "quiet" }, text)), h("td", { class: "num" }, size));
  const parts = [part(plan.file, _("the result, for the folders of any web UI"), plan.file_size)];
  if (plan.files > 1) parts.push(part(plan.file.replace(/(\.\w+)?$/, "-…$1"), _("saved on the way, to pick the best from"), `${plan.files - 1} × ${plan.file_size}`));
  get("files").replaceChildren(h("tr", { class: "plain" }, h("td", { colspan: "2" }, h("span", { class: "quiet" }, _("in the folder")), " ", h("span", { class: "mono wrap-any" }, plan.folder))), ...parts);
  get("command").textContent = plan.command;
  get("command-part").hidden = false;
  showSaves();
  showNotes();
  showStart();
}

// How many files a run keeps; a number of one's own, of Advanced or a recipe, stands among the others.
function showSaves() {
  const counts = [...new Set([1, 3, 5, 10, plan.files])].sort((one, two) => one - two);
  get("saves").replaceChildren(...counts.map((count) => h("option", { value: count, selected: count === plan.files }, count === 1 ? _("only the result") : number(count))));
}

get("saves").addEventListener("change", async () => {
  await storeNow({ saves: Number(get("saves").value), settings: { "save.every": null, "save.every_epochs": null, "save.every_minutes": null } });
  await load();
});

function showPrompts() {
  get("prompts").replaceChildren(...plan.prompts.map(({ text, is_own: isOwn, is_check: isCheck }) => h("li", {}, h("div", {}, h("p", { class: "mono wrap-any" }, ...mark(text)), h("p", { class: "help" }, isCheck ? _("something that no image shows: does it still obey?") : isOwn ? _("with the trigger word") : _("without the trigger word: should not change"))))));
  get("preview-count").textContent = plan.previews ? ngettext("Generated {count} time in the run, always with the same seed.", "Generated {count} times in the run, always with the same seed.", plan.previews) : _("No previews are generated in this run.");
  get("prompt-text").value = (draft.settings["sample.prompts"] ?? []).join?.("\n") || plan.prompts.filter((each) => !each.is_check).map((each) => each.text).join("\n");
}

// The trigger word stands out in a prompt.
function mark(text) {
  const parts = text.split(draft.trigger_word);
  return parts.flatMap((part, index) => (index ? [h("b", {}, draft.trigger_word), part] : [part]));
}

function showNotes() {
  const notes = plan.notes.filter(({ code }) => !code.startsWith("E41")); // images that cannot be used: the first step says it
  get("notes").hidden = !notes.length;
  for (const old of get("notes").querySelectorAll(".note")) old.remove();
  get("notes").append(...notes.map(({ code, text }) => h("div", { class: `note ${code.startsWith("W") ? "warn" : ""}` }, h("div", {}, h("p", { class: "wrap-any" }, text, " ", h("span", { class: "quiet mono" }, code))))));
}

function showStart() {
  const word = plan.busy ? _("Add to the queue") : _("Start training");
  for (const button of document.querySelectorAll("[data-start]")) button.textContent = word;
  get("start-help").textContent = plan.busy ? _("“{title}” comes before it. It starts by itself when the device is free, also when this page is closed.", { title: plan.busy }) : draft.started ? _("This starts a new run; the one that was started stays as it is.") : _("Nothing has been started. Everything here can still be changed.");
  get("foot-text").textContent = _("{time} · {memory} of {free} · {disk} on the disk", { time: plan.time, memory: plan.memory, free: plan.free_memory, disk: plan.disk });
}

for (const button of document.querySelectorAll("[data-start]")) {
  button.addEventListener("click", () => press(button, async () => { location.href = (await ask("POST", address("/start"))).address; }));
}

get("copy").addEventListener("click", async () => {
  get("command-part").open = true;
  try {
    await navigator.clipboard.writeText(plan.command);
    toast(_("The command is copied."));
  } catch { // a page of another computer may not use the clipboard
    getSelection().selectAllChildren(get("command"));
    toast(_("The command is selected; copy it with Ctrl+C."));
  }
});

get("edit-prompts").addEventListener("click", () => {
  const form = get("prompt-form");
  form.hidden = !form.hidden;
  get("edit-prompts").setAttribute("aria-expanded", String(!form.hidden));
  if (!form.hidden) get("prompt-text").focus();
});
get("prompt-form").addEventListener("submit", (event) => {
  event.preventDefault();
  press(event.submitter ?? event.target.querySelector("button"), async () => {
    const prompts = get("prompt-text").value.split("\n").map((line) => line.trim()).filter(Boolean);
    await storeNow({ settings: { "sample.prompts": prompts.length ? prompts : null } });
    get("prompt-form").hidden = true;
    get("edit-prompts").setAttribute("aria-expanded", "false");
    await load();
  });
});

connect();
load();
