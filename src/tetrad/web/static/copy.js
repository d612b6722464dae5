// Copy a save to a web UI, or under another name into the folder for exports: what goes where is shown before.
import { ServerError, ask } from "./api.js";
import { h } from "./dom.js";
import { _ } from "./text.js";
import { toast } from "./toast.js";

const WAIT = 300; // ms after the last key

export async function openCopy({ address, save, strength, prompt, isExport, isModel }) {
  let plan = null;
  let timer = null;
  const where = h("select", { id: "copy-to", onchange: () => choose() });
  const path = h("input", { id: "copy-path", type: "text", spellcheck: "false", placeholder: "…/stable-diffusion-webui" });
  const name = h("input", { id: "copy-name", type: "text", spellcheck: "false", oninput: () => { clearTimeout(timer); timer = setTimeout(show, WAIT); } });
  const adding = h("div", { class: "field", hidden: true }, h("label", { for: "copy-path" }, _("Folder of the web UI")), h("div", { class: "with-button" }, path, h("button", { type: "button", class: "button", onclick: add }, _("Add"))), h("p", { class: "help" }, _("The folder that A1111, Forge or ComfyUI is installed in.")));
  const body = h("div", { class: "stack" });
  const problem = h("div", {});
  const go = h("button", { type: "button", class: "button primary", onclick: copy });
  const title = isExport ? _("Export") : _("Copy to my WebUI");
  const dialog = h("dialog", { class: "dialog", "aria-labelledby": "copy-title" }, h("h2", { id: "copy-title" }, title),
    h("div", { class: "field" }, h("label", { for: "copy-to" }, _("To")), where), adding,
    h("div", { class: "field" }, h("label", { for: "copy-name" }, isModel ? _("File name") : _("Name in prompts")), name), body, problem,
    h("footer", {}, h("a", { class: "button ghost", href: `${address}/files/${encodeURIComponent(save.file)}`, download: save.file, hidden: !isExport }, _("Download instead")), h("button", { type: "button", class: "button", onclick: () => dialog.close() }, _("Cancel")), go));
  dialog.addEventListener("close", () => dialog.remove());

  const wish = () => ({ file: save.file, strength, prompt, destination: where.value, name: name.value.trim() });
  const fail = (error) => {
    if (!(error instanceof ServerError)) throw error;
    problem.replaceChildren(h("div", { class: "note bad", role: "alert" }, h("p", {}, error.message, " ", error.answer?.code && h("code", {}, error.answer.code))));
  };

  async function fill(selected) {
    const all = await ask("GET", "/api/destinations");
    const fitting = all.filter((each) => isExport || each.kind);
    where.replaceChildren(...fitting.map((each) => h("option", { value: each.id }, `${each.title}: ${each.path}`)), h("option", { value: "" }, _("Another web UI…")));
    if (isExport) where.value = fitting.findLast((each) => !each.kind)?.id ?? "";
    if (selected) where.value = selected;
    choose();
  }

  function choose() {
    adding.hidden = where.value !== "";
    name.closest(".field").hidden = go.hidden = where.value === "";
    if (where.value) show();
    else { body.replaceChildren(); path.focus(); }
  }

  async function add() {
    problem.replaceChildren();
    try {
      await fill((await ask("POST", "/api/destinations", { path: path.value })).id);
    } catch (error) {
      fail(error);
    }
  }

  async function show() {
    problem.replaceChildren();
    try {
      plan = await ask("POST", `${address}/copies/plan`, wish());
    } catch (error) {
      body.replaceChildren();
      go.disabled = true;
      fail(error);
      return;
    }
    go.disabled = false;
    if (!name.value) name.value = plan.wanted;
    go.textContent = isExport ? _("Export {size}", { size: plan.size }) : _("Copy {size}", { size: plan.size });
    body.replaceChildren(
      ...(isModel ? [] : [h("p", { class: "help" }, _("You will write:"), " ", h("code", {}, plan.prompt))]),
      h("dl", { class: "pairs left" }, h("dt", {}, _("New file")), h("dd", { class: "mono" }, plan.target), ...(plan.with.length ? [h("dt", {}, _("With it")), h("dd", {}, plan.with.join(" · "))] : [])),
      ...plan.notes.map((note) => h("div", { class: "note warn" }, h("p", {}, note))));
  }

  async function copy() {
    go.disabled = true;
    try {
      const { text } = await ask("POST", `${address}/copies`, wish());
      dialog.close();
      toast(text);
    } catch (error) {
      fail(error);
      go.disabled = false;
    }
  }

  document.body.append(dialog);
  await fill("");
  dialog.showModal();
  if (where.value === "") path.focus();
}
