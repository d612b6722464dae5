// Copy a text; where the browser offers no clipboard to a page without TLS, by the way of a selection.
import { h } from "./dom.js";
import { _ } from "./text.js";
import { toast } from "./toast.js";

export async function copyText(text) {
  let isCopied = false;
  if (navigator.clipboard) isCopied = await navigator.clipboard.writeText(text).then(() => true, () => false);
  if (!isCopied) {
    const box = h("textarea", { class: "sr", "aria-hidden": "true" });
    const before = document.activeElement;
    box.value = text;
    (document.querySelector("dialog[open]") ?? document.body).append(box);
    box.select();
    isCopied = document.execCommand("copy");
    box.remove();
    before?.focus();
  }
  if (isCopied) toast(_("Copied."));
  else toast(_("The browser did not let the page copy this."), { tone: "bad" });
}
