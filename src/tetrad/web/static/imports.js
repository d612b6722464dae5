// Another trainer's configuration becomes a draft, which is opened at the step that still asks for something.
import { ask, press } from "./api.js";
import { get } from "./dom.js";

const { id, method } = JSON.parse(get("data").textContent);

get("go-on")?.addEventListener("click", (event) => press(event.currentTarget, async () => {
  const { address } = await ask("POST", `/api/imports/${id}/draft`, { method });
  location.href = address;
}));

// A link to a group opens it.
for (const link of document.querySelectorAll('a.chip[href^="#"]')) link.addEventListener("click", () => { get(link.hash.slice(1)).open = true; });
