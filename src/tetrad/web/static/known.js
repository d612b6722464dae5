// Whether the model knows it already: four images of a prompt, drawn at once.
import { askLines, press, ServerError } from "./api.js";
import { get, h } from "./dom.js";
import { address, ensureDraft } from "./draft.js";
import { _ } from "./text.js";

get("know-form").addEventListener("submit", (event) => {
  event.preventDefault();
  press(get("know-draw"), draw);
});

async function draw() {
  const prompt = get("know-prompt").value.trim();
  if (!prompt) {
    get("know-prompt").focus();
    get("know-text").textContent = _("Type what the model should generate.");
    return;
  }
  get("know-text").textContent = _("Getting ready …");
  get("know-imgs").replaceChildren(...[0, 1, 2, 3].map(() => h("span", { class: "wait" })));
  try {
    await ensureDraft();
    await askLines(address(`/known?${new URLSearchParams({ prompt })}`), (line) => show(line, prompt));
  } catch (error) {
    if (!(error instanceof ServerError)) throw error;
    fail(error.message);
  }
}

function show(line, prompt) {
  if (line.event === "loading") get("know-text").textContent = _("Loading the model …");
  if (line.event === "step") get("know-text").textContent = _("Generating: step {step} of {steps}", line);
  if (line.event === "gave_way" || line.event === "error") fail(line.text);
  if (line.event !== "image") return;
  get("know-imgs").children[line.number]?.replaceWith(h("img", { src: `/api/known/${line.id}`, alt: "", width: 256, height: 256 }));
  get("know-text").textContent = _("This is what it generates for “{prompt}”.", { prompt });
  if (get("know-generate")) get("know-generate").hidden = false;
}

function fail(text) {
  get("know-text").textContent = text;
  get("know-imgs").replaceChildren();
}
