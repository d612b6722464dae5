// Choose what to compare: one press trains the same images with each method; runs that are there are ticked.
import { ask, press } from "./api.js";
import { get, h } from "./dom.js";
import { connect } from "./live.js";
import { _ } from "./text.js";

const { least, most } = JSON.parse(get("data").textContent);

get("train").addEventListener("submit", (event) => {
  event.preventDefault();
  press(event.submitter, async () => {
    get("left-out").textContent = _("Looking at the images and the memory …");
    const source = get("train").querySelector("input:checked");
    const body = "draft" in source.dataset ? { draft: source.value } : { images: source.value };
    const { address, left_out: leftOut } = await ask("POST", "/api/compare", body).finally(() => get("left-out").replaceChildren());
    if (leftOut.length) showLeftOut(leftOut, address);
    else location.href = address;
  });
});

function showLeftOut(sentences, address) {
  get("left-out").replaceChildren(h("div", { class: "note warn with-action" }, h("div", {}, h("p", {}, sentences.join(" ")),
    h("div", { class: "row" }, h("a", { class: "button small", href: address }, _("Compare the others"))))));
}

const ticked = () => [...get("choose").querySelectorAll("input:checked")];

function showTicked() {
  const count = ticked().length;
  get("compare").setAttribute("aria-disabled", String(count < least));
  get("compare").textContent = count < least ? _("Compare: choose {least} to {most}", { least, most }) : _("Compare {count} runs", { count });
  for (const box of get("choose").querySelectorAll("input:not(:checked)")) box.disabled = count >= most;
}

if (get("compare")) {
  get("choose").addEventListener("change", showTicked);
  get("choose").addEventListener("submit", (event) => { if (ticked().length < least) event.preventDefault(); });
  showTicked();
}
connect();
