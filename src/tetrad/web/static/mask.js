// Paint a mask over the image to start from: its white part is generated anew. With the keyboard the arrow keys move the
// brush and the space bar paints. A mask that was made elsewhere can be chosen as a file.
import { h } from "./dom.js";
import { _ } from "./text.js";

const STEP = 1 / 40; // of the image's width, for one press of an arrow key
const RED = "rgb(214 40 40)"; // the canvas as a whole is half transparent

// Resolves to the mask as a PNG (Blob), to a File that was chosen, or to null.
export function paintMask(address) {
  return new Promise((resolve) => {
    let result = null;
    const state = { brush: 12, erases: false, at: [0.5, 0.5], isDown: false };
    const picture = h("img", { src: address, alt: "" });
    const canvas = h("canvas", { tabindex: 0, role: "application", "aria-label": _("Mask: arrow keys move the brush, the space bar paints, E switches between painting and erasing, + and − resize the brush") });
    const cursor = h("span", { class: "brush", "aria-hidden": "true" });
    const said = h("p", { class: "sr", role: "status" });
    const context = canvas.getContext("2d");

    const radius = () => (state.brush / 100) * canvas.width / 2;
    const showCursor = () => {
      cursor.style.left = `${state.at[0] * 100}%`;
      cursor.style.top = `${state.at[1] * 100}%`;
      cursor.style.width = `${state.brush}%`;
    };
    const dab = (from, to) => {
      context.globalCompositeOperation = state.erases ? "destination-out" : "source-over";
      context.strokeStyle = RED;
      context.lineCap = "round";
      context.lineWidth = radius() * 2;
      context.beginPath();
      context.moveTo(from[0] * canvas.width, from[1] * canvas.height);
      context.lineTo(to[0] * canvas.width + 0.01, to[1] * canvas.height);
      context.stroke();
    };
    const place = (event) => {
      const box = canvas.getBoundingClientRect();
      return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    };
    picture.addEventListener("load", () => { [canvas.width, canvas.height] = [picture.naturalWidth, picture.naturalHeight]; showCursor(); });
    canvas.addEventListener("pointerdown", (event) => { state.isDown = true; canvas.setPointerCapture(event.pointerId); state.at = place(event); dab(state.at, state.at); });
    canvas.addEventListener("pointermove", (event) => {
      const next = place(event);
      if (state.isDown) dab(state.at, next);
      state.at = next;
      showCursor();
    });
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => { state.isDown = false; });
    canvas.addEventListener("keydown", (event) => {
      const by = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
      const limit = (value) => Math.max(0, Math.min(1, value));
      if (by) {
        const next = [limit(state.at[0] + by[0] * STEP), limit(state.at[1] + by[1] * STEP * (canvas.width / canvas.height))];
        if (event.shiftKey) dab(state.at, next);
        state.at = next;
      } else if (event.key === " ") { dab(state.at, state.at); said.textContent = state.erases ? _("erased") : _("painted"); }
      else if (event.key.toLowerCase() === "e") setErases(!state.erases);
      else if (event.key === "+" || event.key === "-") setBrush(state.brush + (event.key === "+" ? 4 : -4));
      else return;
      event.preventDefault();
      showCursor();
    });

    const size = h("input", { type: "range", min: 2, max: 60, value: state.brush, "aria-label": _("Brush size"), oninput: (event) => setBrush(Number(event.target.value)) });
    const setBrush = (value) => { state.brush = Math.max(2, Math.min(60, value)); size.value = state.brush; showCursor(); };
    const modes = [[false, _("Paint")], [true, _("Erase")]].map(([erases, word]) => h("button", { type: "button", "aria-pressed": String(!erases), onclick: () => setErases(erases) }, word));
    const setErases = (erases) => { state.erases = erases; modes.forEach((mode, index) => mode.setAttribute("aria-pressed", String(erases === Boolean(index)))); };
    const file = h("input", { type: "file", class: "sr", id: "mask-file", accept: "image/*", onchange: () => { [result] = file.files; dialog.close(); } });
    const use = h("button", { type: "button", class: "button primary", onclick: async () => { result = await toMask(canvas); dialog.close(); } }, _("Use this mask"));
    const dialog = h("dialog", { class: "dialog viewer", "aria-labelledby": "mask-title" },
      h("h2", { id: "mask-title" }, _("Paint what is to be generated anew")),
      h("div", { class: "row between" }, h("div", { class: "row" }, h("div", { class: "segments", role: "group", "aria-label": _("Brush") }, ...modes), h("label", { class: "row small" }, _("Size"), size)),
        h("div", { class: "row" }, h("button", { type: "button", class: "button small", onclick: () => context.clearRect(0, 0, canvas.width, canvas.height) }, _("Clear")), h("label", { class: "button small", for: "mask-file" }, _("Choose a mask file")), file)),
      h("div", { class: "painting" }, picture, canvas, cursor),
      h("p", { class: "help" }, _("Keyboard: arrow keys move, space paints, Shift with an arrow key paints a line.")), said,
      h("footer", {}, h("button", { type: "button", class: "button", onclick: () => dialog.close() }, _("Cancel")), use));
    dialog.addEventListener("close", () => { dialog.remove(); resolve(result); });
    document.body.append(dialog);
    dialog.showModal();
    canvas.focus();
  });
}

// White where something was painted, black elsewhere.
function toMask(canvas) {
  const source = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  const mask = h("canvas", { width: canvas.width, height: canvas.height });
  const target = mask.getContext("2d");
  const pixels = target.createImageData(canvas.width, canvas.height);
  for (let index = 0; index < pixels.data.length; index += 4) {
    pixels.data.fill(source.data[index + 3] ? 255 : 0, index, index + 3);
    pixels.data[index + 3] = 255;
  }
  target.putImageData(pixels, 0, 0);
  return new Promise((resolve) => mask.toBlob(resolve, "image/png"));
}
