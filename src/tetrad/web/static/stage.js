// The image in the middle: beside it the others of its order, below it what can be done with it. Where it was also made
// without networks, a slider moves the border between the two.
import { copyText } from "./clipboard.js";
import { get, h } from "./dom.js";
import { _ } from "./text.js";

export class Stage {
  constructor(actions) {
    this.actions = actions; // {use, start, paint, remove, select}
    this.images = [];
    this.image = null;
    this.cut = 50;
    this.show();
  }

  // Show an image; `images` are those of its order.
  set(image, images = this.images) {
    this.image = image;
    this.images = images;
    this.show();
  }

  show() {
    const { image } = this;
    if (!image) {
      get("stage").replaceChildren(h("div", { class: "empty-state" }, h("p", {}, h("b", {}, _("The images appear here"))), h("p", { class: "quiet" }, _("Write what they should show, and generate."))));
      return;
    }
    const batch = this.images.length > 1 && h("ul", { class: "batch", "aria-label": _("The images of this order") }, ...this.images.map((each) => h("li", {}, this.tile(each))));
    get("stage").replaceChildren(...[
      h("div", { class: `stage-grid${batch ? " several" : ""}` }, image.has_without ? this.comparison() : this.single(), batch),
      image.has_without && this.slider(), this.caption()].filter(Boolean));
  }

  tile(each) {
    return h("button", { type: "button", class: "tile", "aria-pressed": String(each.id === this.image.id), onclick: () => this.actions.select(each) },
      h("img", { src: `/api/images/${each.id}/thumbnail`, width: 160, height: 160, alt: _("seed {seed}", { seed: each.seed }) }));
  }

  fit(box, picture) {
    picture.addEventListener("load", () => {
      box.style.aspectRatio = `${picture.naturalWidth} / ${picture.naturalHeight}`;
      box.style.setProperty("--ratio", picture.naturalWidth / picture.naturalHeight);
    });
  }

  single() {
    const picture = h("img", { src: `/api/images/${this.image.id}`, alt: this.alt() });
    const box = h("button", { type: "button", class: "ba", "aria-label": _("Enlarge: {alt}", { alt: this.alt() }), onclick: () => this.enlarge() }, picture);
    this.fit(box, picture);
    return box;
  }

  alt() {
    return this.image.settings.prompt || _("generated image");
  }

  comparison() {
    const withIt = h("img", { src: `/api/images/${this.image.id}`, alt: _("with networks: {alt}", { alt: this.alt() }) });
    const without = h("img", { class: "without", src: `/api/images/${this.image.id}/without`, alt: _("the same seed without networks") });
    const box = h("div", { class: "ba" }, withIt, without, h("span", { class: "ba-line", "aria-hidden": "true" }),
      h("span", { class: "ba-tag l" }, _("without networks")), h("span", { class: "ba-tag r" }, _("with networks")));
    box.style.setProperty("--cut", `${this.cut}%`);
    this.fit(box, withIt);
    return box;
  }

  slider() {
    return h("input", { type: "range", min: 0, max: 100, value: this.cut, "aria-label": _("Border between without and with networks"), oninput: (event) => {
      this.cut = Number(event.target.value);
      document.querySelector(".ba").style.setProperty("--cut", `${this.cut}%`);
    } });
  }

  caption() {
    const [seed, ...rest] = this.image.caption;
    const act = (word, work, kind = "") => h("button", { type: "button", class: `button small ${kind}`, onclick: work }, word);
    const { image, actions } = this;
    return h("figcaption", { class: "row between" },
      h("span", { class: "small quiet mono" }, seed === undefined ? "" : [_("seed {seed}", { seed }), ...rest].join(" · ")),
      h("span", { class: "row" },
        h("a", { class: "button small", href: `/api/images/${image.id}`, download: `${image.id}.png` }, _("Save")),
        act(_("Copy settings"), () => copyText(image.infotext)),
        act(_("Use these settings"), () => actions.use(image)),
        act(_("Start from it"), () => actions.start(image)),
        act(_("Paint a mask"), () => actions.paint(image)),
        act(_("Delete"), () => actions.remove(image), "ghost")));
  }

  enlarge() {
    const viewer = get("viewer");
    viewer.replaceChildren(
      h("div", { class: "row between" }, h("h2", { id: "viewer-title" }, _("seed {seed}", { seed: this.image.seed })), h("button", { type: "button", class: "button icon", "aria-label": _("Close"), onclick: () => viewer.close() }, "✕")),
      h("img", { src: `/api/images/${this.image.id}`, alt: this.alt() }), h("p", { class: "small mono" }, this.alt()));
    viewer.showModal();
  }
}
