// A question before something is lost: the safe answer has the focus, Esc means it too.
import { h } from "./dom.js";

let number = 0;

export function confirmLoss({ title, text, keep, lose }) {
  return new Promise((resolve) => {
    const id = `dialog-title-${++number}`;
    const safe = h("button", { type: "button", class: "button", onclick: () => dialog.close() }, keep);
    const danger = h("button", { type: "button", class: "button danger", onclick: () => { dialog.returnValue = "lose"; dialog.close("lose"); } }, lose);
    const dialog = h("dialog", { class: "dialog", "aria-labelledby": id }, h("h2", { id }, title), h("p", {}, text), h("footer", {}, safe, danger));
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "lose");
    });
    document.body.append(dialog);
    dialog.showModal();
    safe.focus();
  });
}
