// Toasts: short notes about things that were done, with Undo where that is possible. They stay 8 seconds.
import { h, get } from "./dom.js";
import { _ } from "./text.js";

const SECONDS = 8;

export function toast(text, { tone = "", undo = null } = {}) {
  const close = () => element.remove();
  const element = h(
    "div",
    { class: `toast ${tone}` },
    h("span", {}, text),
    undo && h("button", { type: "button", class: "button", onclick: () => { close(); undo(); } }, _("Undo")),
    h("button", { type: "button", class: "button icon", "aria-label": _("Close"), onclick: close }, "✕"),
  );
  let timer;
  const start = () => { timer = setTimeout(close, SECONDS * 1000); };
  const stop = () => clearTimeout(timer);
  for (const event of ["mouseenter", "focusin"]) element.addEventListener(event, stop);
  for (const event of ["mouseleave", "focusout"]) element.addEventListener(event, start);
  get("toasts").append(element);
  start();
  return close;
}
