// A frame over an image, moved by dragging or by the arrow keys, and resized at its corners or with + and −.
import { h } from "./dom.js";
import { _ } from "./text.js";

const SMALLEST = 0.1; // of a side
const STEP = 0.02;

export class CropTool {
  constructor(image, row) {
    this.row = row;
    this.part = { left: 0.05, top: 0.05, right: 0.95, bottom: 0.95 };
    const corners = ["nw", "ne", "sw", "se"].map((name) => h("i", { class: `corner ${name}`, "data-corner": name }));
    this.frame = h("div", { class: "frame", tabindex: "0", role: "group", "aria-label": _("Crop frame: arrow keys move it, + and − change its size") }, ...corners);
    this.element = h("div", { class: "crop" }, image, this.frame);
    this.frame.addEventListener("keydown", (event) => this.onKey(event));
    this.frame.addEventListener("pointerdown", (event) => this.onDown(event));
    this.place();
  }

  // The frame in pixels of the upright image.
  get box() {
    const { left, top, right, bottom } = this.part;
    const { width, height } = this.row;
    return [Math.round(left * width), Math.round(top * height), Math.round(right * width), Math.round(bottom * height)];
  }

  place() {
    const { left, top, right, bottom } = this.part;
    Object.assign(this.frame.style, { left: `${left * 100}%`, top: `${top * 100}%`, right: `${(1 - right) * 100}%`, bottom: `${(1 - bottom) * 100}%` });
  }

  move(dx, dy) {
    const { left, top, right, bottom } = this.part;
    const x = Math.min(Math.max(dx, -left), 1 - right);
    const y = Math.min(Math.max(dy, -top), 1 - bottom);
    this.part = { left: left + x, top: top + y, right: right + x, bottom: bottom + y };
    this.place();
  }

  resize(corner, dx, dy) {
    const part = { ...this.part };
    if (corner.includes("w")) part.left = Math.min(Math.max(0, part.left + dx), part.right - SMALLEST);
    if (corner.includes("e")) part.right = Math.max(Math.min(1, part.right + dx), part.left + SMALLEST);
    if (corner.includes("n")) part.top = Math.min(Math.max(0, part.top + dy), part.bottom - SMALLEST);
    if (corner.includes("s")) part.bottom = Math.max(Math.min(1, part.bottom + dy), part.top + SMALLEST);
    this.part = part;
    this.place();
  }

  onKey(event) {
    const moves = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] };
    if (moves[event.key]) this.move(...moves[event.key]);
    else if (event.key === "+" || event.key === "=") { this.resize("nw", -STEP, -STEP); this.resize("se", STEP, STEP); }
    else if (event.key === "-") { this.resize("nw", STEP, STEP); this.resize("se", -STEP, -STEP); }
    else return;
    event.preventDefault();
  }

  onDown(event) {
    const { corner } = event.target.dataset;
    const { width, height } = this.element.getBoundingClientRect();
    let [x, y] = [event.clientX, event.clientY];
    this.frame.setPointerCapture(event.pointerId);
    const onMove = (next) => {
      const [dx, dy] = [(next.clientX - x) / width, (next.clientY - y) / height];
      [x, y] = [next.clientX, next.clientY];
      if (corner) this.resize(corner, dx, dy);
      else this.move(dx, dy);
    };
    this.frame.addEventListener("pointermove", onMove);
    this.frame.addEventListener("pointerup", () => this.frame.removeEventListener("pointermove", onMove), { once: true });
    this.frame.addEventListener("pointercancel", () => this.frame.removeEventListener("pointermove", onMove), { once: true });
  }
}
