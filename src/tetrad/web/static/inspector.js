// The chosen image: what was found, and the tools to crop it, to rotate it, to mask it and to leave it out.
import { ask, press } from "./api.js";
import { badge, get, h } from "./dom.js";
import { address } from "./draft.js";
import { CropTool } from "./crop_tool.js";
import { MaskTool } from "./mask_tool.js";
import { _ } from "./text.js";
import { toast } from "./toast.js";

const NARROW = matchMedia("(max-width: 1080px)");

export class Inspector {
  constructor({ reload, onClose }) {
    this.reload = reload;
    this.tool = "crop";
    this.key = "";
    get("sheet").addEventListener("close", () => { this.key = ""; onClose(); });
    NARROW.addEventListener("change", () => { get("sheet").close(); get("inspector").hidden = true; });
  }

  // Show an image; null closes. The same image is not shown anew, so that a crop in work stays.
  show(row) {
    const key = row ? JSON.stringify(row) : "";
    if (key === this.key) return;
    this.key = key;
    this.row = row;
    get("inspector").hidden = !row || NARROW.matches;
    document.querySelector("#photos").classList.toggle("split", Boolean(row) && !NARROW.matches);
    if (!row) {
      get("sheet").close();
      return;
    }
    const host = NARROW.matches ? get("sheet") : get("inspector");
    host.replaceChildren(this.make(row));
    if (NARROW.matches && !get("sheet").open) get("sheet").showModal();
  }

  make(row) {
    const size = row.width ? `${row.width} × ${row.height}` : "";
    const body = h("div", { class: "stack" });
    this.body = body;
    const panel = h(
      "section", { class: NARROW.matches ? "stack" : "card pad-s stack" },
      h("div", { class: "row between top-row" }, h("h2", { class: "cut", title: row.name }, row.name), h("button", { type: "button", class: "button icon small ghost", "aria-label": _("Close"), onclick: () => this.close() }, "✕")),
      h("p", { class: "num small quiet" }, size),
      ...row.reasons.map((reason) => h("p", { class: "small" }, badge("", row.verdict === "look" ? "warn" : row.verdict === "unused" ? "bad" : "ok"), " ", reason.text, " ", h("span", { class: "quiet mono" }, reason.code))),
      body,
    );
    if (row.verdict === "unused") return panel;
    if (row.verdict === "left") {
      body.append(this.image(row), h("div", { class: "row" }, this.button(_("Use it again"), () => ask("PUT", address(`/images/${row.id}`)))));
      return panel;
    }
    this.showTool();
    return panel;
  }

  close() {
    if (NARROW.matches) get("sheet").close();
    else document.querySelector(`.tile[data-id="${CSS.escape(this.row.id)}"]`)?.focus();
    this.show(null);
    document.querySelector('.tile[aria-pressed="true"]')?.setAttribute("aria-pressed", "false");
  }

  image(row) {
    return h("img", { class: "whole", src: address(`/images/${row.id}/thumbnail?side=1024&v=${row.version ?? ""}`), alt: row.name, width: row.width, height: row.height });
  }

  // A button that changes the image; `icon` is shown instead of its text. The focus stays on it although it is made anew.
  button(text, work, done = "", icon = null) {
    const named = icon ? { class: "button small icon", "aria-label": text, title: text } : { class: "button small" };
    return h("button", { type: "button", "data-act": text, ...named, onclick: (event) => press(event.currentTarget, async () => {
      const answer = await work();
      if (done) toast(done);
      this.key = "";
      await this.reload(answer.id);
      if (document.activeElement === document.body) this.body.querySelector(`[data-act="${CSS.escape(text)}"]`)?.focus();
    }) }, icon ?? text);
  }

  rotations() {
    const rotate = (to, text) => this.button(text, () => ask("POST", address(`/images/${this.row.id}/rotate`), { to }), "",
      h("svg", { width: 18, height: 18, viewBox: "0 0 18 18", fill: "none", stroke: "currentColor", "stroke-width": 1.75, "stroke-linecap": "round", "stroke-linejoin": "round", "aria-hidden": "true", class: to === "right" ? "mirrored" : "" },
        h("path", { d: "M3.500 6.500A6.200 6.200 0 1 1 3 11M3.200 2.500v4.200h4.200" })));
    return [rotate("left", _("Rotate to the left")), rotate("right", _("Rotate to the right"))];
  }

  showTool() {
    const { row } = this;
    const tools = { crop: _("Crop"), mask: _("Mask") };
    const segments = h("div", { class: "segments", role: "group", "aria-label": _("Tool") }, ...Object.entries(tools).map(([name, title]) => h("button", {
      type: "button", "aria-pressed": String(name === this.tool), onclick: () => { this.tool = name; this.showTool(); segments.querySelector('[aria-pressed="true"]'); this.body.querySelector('.segments [aria-pressed="true"]').focus(); },
    }, title)));
    const bar = h("div", { class: "row between" }, segments, h("span", { class: "row" }, ...this.rotations()));
    const image = this.image(row);
    const restore = row.is_edited && this.button(_("Undo crop and rotation"), () => ask("DELETE", address(`/images/${row.id}/edits`)), row.has_mask ? _("The image and its mask are as they were before.") : "");
    const leave = this.button(_("Leave out"), () => ask("DELETE", address(`/images/${row.id}`)));
    if (this.tool === "crop") {
      const crop = new CropTool(image, row);
      const apply = this.button(_("Crop to the frame"), () => ask("POST", address(`/images/${row.id}/crop`), { box: crop.box }), _("The image is cropped; the original is kept."));
      this.body.replaceChildren(crop.element, bar, h("p", { class: "help" }, _("Crop only if something else is in the image. Arrow keys move the frame, + and − change its size.")), h("div", { class: "row" }, apply, restore, leave));
      return;
    }
    const mask = new MaskTool(image, row, address(`/images/${row.id}/mask`));
    const save = this.button(_("Save the mask"), async () => ask("PUT", address(`/images/${row.id}/mask`), await mask.read()), _("The mask is saved."));
    const remove = row.has_mask && this.button(_("Remove the mask"), () => ask("DELETE", address(`/images/${row.id}/mask`)));
    this.body.replaceChildren(mask.element, bar, mask.controls, h("p", { class: "help" }, _("Paint over what should not count. With the keyboard: arrow keys move the brush, the space bar paints.")), h("div", { class: "row" }, save, remove, restore, leave));
  }
}
