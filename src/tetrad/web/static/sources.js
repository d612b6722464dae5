// Images and texts that settings are read from, and the image that img2img starts from, with its mask.
import { ask } from "./api.js";
import { acceptDrop } from "./drop.js";
import { get, h } from "./dom.js";
import { paintMask } from "./mask.js";
import { _ } from "./text.js";

export class Sources {
  constructor({ readSettings, useSettings, onChange }) {
    this.readSettings = readSettings;
    this.useSettings = useSettings;
    this.onChange = onChange;
    this.start = ""; // ids
    this.mask = "";
    acceptDrop((transfer) => this.take(transfer.files[0]));
    get("file").addEventListener("change", (event) => { this.take(event.target.files[0]); event.target.value = ""; });
    get("paste").addEventListener("click", () => this.paste());
    get("forget-start").addEventListener("click", () => this.setStart(""));
    get("forget-mask").addEventListener("click", () => this.setMask(""));
    get("paint-mask").addEventListener("click", () => this.paint());
    get("denoising_strength").addEventListener("input", () => this.showStrength());
    document.addEventListener("paste", (event) => {
      const file = [...event.clipboardData.files].find((each) => each.type.startsWith("image/"));
      if (file && !document.querySelector("dialog[open]")) { event.preventDefault(); this.take(file); }
    });
    this.showStrength();
  }

  showStrength() {
    get("denoising-value").textContent = Number(get("denoising_strength").value).toFixed(2);
  }

  // An image was dropped or chosen: fill its settings in, which can be undone, and offer to start from it instead.
  async take(file) {
    if (!file) return;
    this.note("", _("Reading {file}…", { file: file.name }));
    try {
      const { id, name } = await this.upload(file);
      const read = await ask("POST", "/api/generate/parameters", { input: id }).catch((error) => ({ error }));
      const before = this.readSettings();
      const undo = () => { this.useSettings(before); this.clear(); };
      const start = this.button(_("Start from it (img2img)"), () => { if (!read.error) undo(); this.setStart(id); this.clear(); });
      if (read.error) this.note("", _("{name} has no settings in it.", { name }), [start]);
      else this.fill(read, [this.button(_("Undo"), undo), start]);
    } catch (error) {
      this.fail(error);
    }
  }

  upload(file) {
    return ask("POST", `/api/generate/inputs?${new URLSearchParams({ name: file.name ?? "mask.png" })}`, new Blob([file], { type: file.type || "image/png" }));
  }

  // Fill the settings in, and say what of them is not available here.
  fill({ settings, notes }, buttons = []) {
    this.useSettings(settings);
    if (!notes.length) this.note("ok", _("The settings are filled in."), buttons);
    else this.note("warn", _("The settings are filled in, except:"), buttons, notes);
  }

  paste() {
    const box = h("textarea", { rows: 8, id: "parameters", spellcheck: "false", class: "mono" });
    const problem = h("p", { class: "help bad-text", role: "alert" });
    const use = h("button", { type: "button", class: "button primary", onclick: async () => {
      try {
        this.fill(await ask("POST", "/api/generate/parameters", { text: box.value }));
        dialog.close();
      } catch (error) {
        problem.replaceChildren(error.message, " ", h("code", {}, error.answer?.code ?? ""));
      }
    } }, _("Fill in"));
    const dialog = h("dialog", { class: "dialog", "aria-labelledby": "paste-title" },
      h("h2", { id: "paste-title" }, _("Paste parameters")),
      h("div", { class: "field" }, h("label", { for: "parameters" }, _("The text of a generated image, as web UIs and model sites show it")), box, problem),
      h("footer", {}, h("button", { type: "button", class: "button", onclick: () => dialog.close() }, _("Cancel")), use));
    dialog.addEventListener("close", () => dialog.remove());
    document.body.append(dialog);
    dialog.showModal();
  }

  async paint() {
    const mask = await paintMask(this.address(this.start));
    if (!mask) return;
    try {
      this.setMask((await this.upload(mask)).id);
    } catch (error) {
      this.fail(error);
    }
  }

  // The start image is one that was dropped, or one that was generated here.
  address(id) {
    return id.includes(".") ? `/api/generate/inputs/${id}` : `/api/images/${id}`;
  }

  setStart(id, mask = "") {
    this.start = id;
    get("start").hidden = !id;
    if (id) get("start-image").src = this.address(id);
    this.setMask(mask);
  }

  setMask(id) {
    this.mask = id;
    const has = Boolean(id);
    for (const [name, isHidden] of [["mask-image", !has], ["forget-mask", !has], ["blur-row", !has]]) get(name).hidden = isHidden;
    if (has) get("mask-image").src = this.address(id);
    get("paint-mask").textContent = has ? _("Paint another mask") : _("Paint a mask");
    this.onChange();
  }

  button(word, work, kind = "") {
    return h("button", { type: "button", class: `button small ${kind}`, onclick: work }, word);
  }

  clear() {
    get("input-note").replaceChildren();
  }

  note(tone, text, buttons = [], list = []) {
    get("input-note").replaceChildren(h("div", { class: `note ${tone} with-action`, role: "status" }, h("div", { class: "stack tight" }, h("p", {}, text),
      list.length ? h("ul", { class: "dots" }, ...list.map((each) => h("li", {}, each))) : null,
      h("div", { class: "row" }, ...buttons, this.button(_("Close"), () => this.clear(), "ghost")))));
    get("input-note").scrollIntoView({ block: "nearest" });
  }

  fail(error) {
    get("input-note").replaceChildren(h("div", { class: "note bad", role: "alert" }, h("p", {}, error.message, " ", h("code", {}, error.answer?.code ?? ""))));
  }
}
