// VAEs: which one each model uses, which files there are, and a comparison.
import { ask, press } from "./api.js";
import { badge, get, h } from "./dom.js";
import { connect } from "./live.js";
import { _ } from "./text.js";
import { toast } from "./toast.js";

let found = { models: [], vaes: [] };
let input = null; // an image of the person's own: its id and name

const note = (tone, text) => h("div", { class: `note ${tone}` }, h("div", {}, text));

function choiceCell(choice, title) {
  return h("div", { class: "stack tight" }, h("span", { class: "phone-inline small quiet" }, title),
    h("span", {}, h("b", { class: "file-name" }, choice.name)), choice.reason && h("span", { class: "help" }, choice.reason),
    ...choice.warnings.map((text) => (choice.tone === "ok" ? h("span", { class: "help" }, text) : note(choice.tone, text))));
}

function modelRow(model) {
  const options = [["Automatic", _("By the rules")], ...(model.has_own === false ? [] : [["None", _("The model’s own")]]), ...found.vaes.map((vae) => [vae.id, vae.name])];
  if (!model.chosen) options.unshift(["", _("a file that is gone")]);
  const select = h("select", { "aria-label": _("VAE for {name}", { name: model.name }), "data-writes": true }, ...options.map(([value, text]) => h("option", { value, selected: value === model.chosen }, text)));
  const trains = h("input", { type: "checkbox", "data-writes": true, checked: model.trains, disabled: model.chosen === "Automatic" });
  const state = h("div", { class: "stack tight", role: "status" });
  const mount = async () => {
    state.replaceChildren(h("span", { class: "small quiet" }, _("Reading both files …")));
    try {
      const { warnings } = await ask("PUT", `/api/vae/models/${model.id}`, { vae: select.value, trains: trains.checked && select.value !== "Automatic" });
      await load();
      for (const text of warnings) get("models").querySelector(`[data-model="${model.id}"] [role=status]`).append(note("warn", text));
      toast(select.value === "Automatic" ? _("{name} follows the rules again.", { name: model.name }) : _("{name} now uses this VAE on this page.", { name: model.name }));
    } catch (error) {
      state.replaceChildren(note("bad", error.message));
      select.value = model.chosen;
    }
  };
  select.addEventListener("change", mount);
  trains.addEventListener("change", mount);
  return h("tr", { "data-model": model.id, class: "plain" },
    h("td", { class: "name-col" }, h("span", { class: "name file-name" }, model.name), h("span", { class: "quiet block" }, [model.family, model.has_own === true ? _("VAE inside") : model.has_own === false ? _("no VAE inside") : ""].filter(Boolean).join(" · "))),
    h("td", {}, choiceCell(model.used, _("To generate"))),
    h("td", {}, choiceCell(model.training, _("To train"))),
    h("td", { class: "mount" }, h("div", { class: "stack tight" }, select, h("label", { class: "check small" }, trains, " ", _("Train on its latents, too")), state)));
}

function show() {
  const head = [_("Base model"), _("To generate"), _("To train"), _("Mount")];
  get("models").replaceChildren(h("div", { class: "card listcard" }, h("table", { class: "table cards vaes" }, h("thead", {}, h("tr", {}, ...head.map((word) => h("th", {}, word)))), h("tbody", {}, ...found.models.map(modelRow)))));
  get("vaes").replaceChildren(found.vaes.length
    ? h("div", { class: "card listcard" }, h("table", { class: "table cards" }, h("thead", {}, h("tr", {}, ...[_("Name"), _("Folder"), _("What it is"), _("Hash"), _("Size")].map((word) => h("th", {}, word)))), h("tbody", {}, ...found.vaes.map(vaeRow))))
    : h("div", { class: "card empty-state" }, h("p", {}, h("b", {}, _("No VAE files"))), h("p", { class: "quiet" }, _("Most models need none. Put one into the VAE folder of the web UI, or beside a checkpoint as NAME.vae.safetensors."))));
  showComparison();
  for (const id of ["vaes-section", "compare-section"]) get(id).hidden = false;
}

function vaeRow(vae) {
  const about = h("span", { class: "quiet" }, _("Reading …"));
  const row = h("tr", { class: "plain" }, h("td", { class: "name-col" }, h("span", { class: "name file-name" }, vae.name)),
    h("td", {}, vae.run ? h("a", { href: `/runs/${encodeURIComponent(vae.run)}` }, vae.run) : vae.folder), h("td", {}, about), h("td", {}, h("code", { class: "quiet" }, vae.hash || "–")), h("td", { class: "num" }, vae.size));
  if (vae.problems.length) about.replaceWith(...vae.problems.map((text) => note("bad", text)));
  else inspect(vae, row, about);
  return row;
}

// What it is for takes a look at its weights, which is done once and then known.
async function inspect(vae, row, about) {
  const file = await ask("GET", `/api/library/files/${vae.id}`).catch(() => null);
  if (!row.isConnected) return;
  about.replaceWith(...(file?.all_problems.length ? file.all_problems.map((text) => note("bad", text)) : [h("span", {}, file?.family_fact || file?.family || "–")]));
  if (file?.hash) row.querySelector("code").textContent = file.hash;
}

// ---------- compare ----------
function showComparison() {
  const chosen = new Set([...get("compare-vaes").querySelectorAll("input:checked")].map((box) => box.value));
  const model = get("compare-model").value;
  get("compare-model").replaceChildren(...found.models.map((each) => h("option", { value: each.id, selected: each.id === model }, each.name)));
  const vaes = [["None", _("The model’s own")], ...found.vaes.filter((vae) => !vae.problems.length).map((vae) => [vae.id, vae.name])];
  const isFirst = !chosen.size;
  get("compare-vaes").replaceChildren(...vaes.map(([value, text], place) => h("label", { class: "chip check-chip" }, h("input", { type: "checkbox", value, checked: isFirst ? place < 3 : chosen.has(value) }), text)));
}

get("own-image").addEventListener("change", async (event) => {
  const [file] = event.target.files;
  event.target.value = "";
  if (!file) return;
  try {
    input = await ask("POST", `/api/generate/inputs?${new URLSearchParams({ name: file.name })}`, new Blob([file], { type: file.type || "image/png" }));
  } catch (error) {
    toast(error.message, { tone: "bad" });
    return;
  }
  get("images").querySelector(".own")?.remove();
  const own = h("label", { class: "pick-image own" }, h("input", { type: "radio", name: "image", value: "own", checked: true }), h("img", { src: `/api/generate/inputs/${input.id}`, width: 64, height: 64, alt: input.name }));
  get("images").prepend(own);
  own.querySelector("input").checked = true;
});

get("compare").addEventListener("submit", (event) => {
  event.preventDefault();
  press(get("start-compare"), compare);
});

async function compare() {
  const vaes = [...get("compare-vaes").querySelectorAll("input:checked")].map((box) => box.value);
  if (!vaes.length || vaes.length > 6) {
    toast(vaes.length ? _("At most 6 VAEs fit on a sheet.") : _("Choose at least one VAE."), { tone: "bad" });
    return;
  }
  const image = get("compare").elements.image.value;
  get("compare-state").textContent = _("Encoding and decoding; on a CPU this takes up to a minute for each VAE …");
  try {
    const made = await ask("POST", "/api/vae/compare", { model: get("compare-model").value, vaes, ...(image === "own" ? { input: input.id } : { sample: Number(image) }) });
    get("compared").replaceChildren(
      h("ul", { class: "stack tight small" }, ...made.rows.flatMap((row) => [h("li", { class: "measured" }, h("b", { class: "file-name" }, row.label), " ", row.is_best ? badge(_("least lost"), "ok") : null, h("span", { class: "quiet block" }, row.measured)), ...row.warnings.map((text) => h("li", {}, note("warn", text)))])),
      h("a", { href: made.sheet, target: "_blank", rel: "noopener" }, h("img", { class: "sheet-image", src: made.sheet, alt: _("The image, what each VAE makes of it, and the difference, ten times as strong") })),
    );
  } finally {
    get("compare-state").textContent = "";
  }
}

async function load() {
  try {
    found = await ask("GET", "/api/vae");
  } catch (error) {
    get("models").replaceChildren(note("bad", error.message));
    return;
  }
  show();
}

connect();
load();
