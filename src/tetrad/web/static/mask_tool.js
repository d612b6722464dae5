// Paint a mask over an image: what is painted does not count in training. It is saved white where the image counts.
import { h } from "./dom.js";
import { _ } from "./text.js";

const SIDE = 1024; // pixels of the longer side of the mask
const STEP = 16;

export class MaskTool {
  constructor(image, row, address) {
    const scale = Math.min(1, SIDE / Math.max(row.width, row.height));
    this.canvas = h("canvas", { class: "mask", width: Math.round(row.width * scale), height: Math.round(row.height * scale), tabindex: "0", role: "img", "aria-label": _("Mask: arrow keys move the brush, the space bar paints") });
    this.context = this.canvas.getContext("2d");
    this.context.lineCap = this.context.lineJoin = "round";
    this.size = 48;
    this.erases = false;
    this.at = { x: this.canvas.width / 2, y: this.canvas.height / 2 };
    this.brush = h("i", { class: "brush", "aria-hidden": "true" });
    this.element = h("div", { class: "crop" }, image, this.canvas, this.brush);
    this.controls = this.makeControls();
    this.canvas.addEventListener("pointerdown", (event) => this.onDown(event));
    this.canvas.addEventListener("pointermove", (event) => this.go(this.point(event)));
    this.canvas.addEventListener("keydown", (event) => this.onKey(event));
    if (row.has_mask) this.load(`${address}?v=${row.version}`);
  }

  makeControls() {
    const choose = (erases) => h("button", { type: "button", "aria-pressed": String(erases === this.erases), onclick: (event) => {
      this.erases = erases;
      for (const each of event.currentTarget.parentElement.children) each.setAttribute("aria-pressed", String(each === event.currentTarget));
    } }, erases ? _("Erase") : _("Paint"));
    const size = h("input", { type: "range", min: "8", max: "200", value: String(this.size), "aria-label": _("Brush size"), oninput: () => { this.size = Number(size.value); this.go(this.at); } });
    const clear = h("button", { type: "button", class: "button small ghost", onclick: () => this.context.clearRect(0, 0, this.canvas.width, this.canvas.height) }, _("Clear"));
    return h("div", { class: "row" }, h("div", { class: "segments", role: "group", "aria-label": _("Brush") }, choose(false), choose(true)), size, clear);
  }

  // A mask that is there already: what is not white is painted.
  async load(source) {
    const image = new Image();
    image.src = source;
    await image.decode().catch(() => null);
    if (!image.naturalWidth) return;
    const { width, height } = this.canvas;
    this.context.drawImage(image, 0, 0, width, height);
    const pixels = this.context.getImageData(0, 0, width, height);
    for (let index = 0; index < pixels.data.length; index += 4) {
      pixels.data[index + 3] = 255 - pixels.data[index];
      pixels.data[index] = 0;
      pixels.data[index + 1] = 0;
      pixels.data[index + 2] = 0;
    }
    this.context.putImageData(pixels, 0, 0);
  }

  // The mask as PNG: black over white.
  read() {
    const { width, height } = this.canvas;
    const whole = new OffscreenCanvas(width, height);
    const context = whole.getContext("2d");
    context.fillStyle = "#fff";
    context.fillRect(0, 0, width, height);
    context.drawImage(this.canvas, 0, 0);
    return whole.convertToBlob({ type: "image/png" });
  }

  point(event) {
    const box = this.canvas.getBoundingClientRect();
    return { x: ((event.clientX - box.left) / box.width) * this.canvas.width, y: ((event.clientY - box.top) / box.height) * this.canvas.height };
  }

  go(point) {
    this.at = point;
    const { width, height } = this.canvas;
    Object.assign(this.brush.style, { left: `${(100 * point.x) / width}%`, top: `${(100 * point.y) / height}%`, width: `${(100 * this.size) / width}%` });
  }

  paint(from, to) {
    this.context.globalCompositeOperation = this.erases ? "destination-out" : "source-over";
    this.context.lineWidth = this.size;
    this.context.beginPath();
    this.context.moveTo(from.x, from.y);
    this.context.lineTo(to.x + 0.01, to.y);
    this.context.stroke();
  }

  onDown(event) {
    let last = this.point(event);
    this.canvas.setPointerCapture(event.pointerId);
    this.paint(last, last);
    const onMove = (next) => {
      const point = this.point(next);
      this.paint(last, point);
      last = point;
    };
    this.canvas.addEventListener("pointermove", onMove);
    for (const end of ["pointerup", "pointercancel"]) this.canvas.addEventListener(end, () => this.canvas.removeEventListener("pointermove", onMove), { once: true });
  }

  onKey(event) {
    const moves = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP], " ": [0, 0] };
    const move = moves[event.key];
    if (!move) return;
    event.preventDefault();
    const { width, height } = this.canvas;
    this.go({ x: Math.min(width, Math.max(0, this.at.x + move[0])), y: Math.min(height, Math.max(0, this.at.y + move[1])) });
    if (event.key === " ") this.paint(this.at, this.at);
  }
}
