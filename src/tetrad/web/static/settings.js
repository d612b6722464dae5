// The settings: what changes the lists is stored by the server, and the page is then shown anew.
import { ask, askLines, press } from "./api.js";
import { copyText } from "./clipboard.js";
import { badge, get, h } from "./dom.js";
import { connect } from "./live.js";
import { _ } from "./text.js";

function add(form, field, problem, address) {
  get(form).addEventListener("submit", (event) => {
    event.preventDefault();
    press(event.submitter, async () => {
      get(problem).hidden = true;
      try {
        await ask("POST", address, { path: get(field).value });
        location.reload();
      } catch (error) {
        get(problem).textContent = error.message;
        get(problem).hidden = false;
        get(field).focus();
      }
    });
  });
}

add("add-model", "model-path", "model-problem", "/api/settings/models");
add("add-ui", "ui-path", "ui-problem", "/api/destinations");

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-remove-model], [data-remove-ui], [data-look] button");
  if (!button) return;
  const { removeModel, removeUi } = button.dataset;
  press(button, async () => {
    if (removeModel !== undefined) await ask("DELETE", `/api/settings/models/${removeModel}`);
    else if (removeUi !== undefined) await ask("DELETE", `/api/destinations/${removeUi}`);
    else await look(button.parentElement.dataset.look, button.value);
    location.reload();
  });
});

// What was chosen at the top of the page, for this browser alone, gives way to what is chosen here.
async function look(name, value) {
  await ask("PUT", "/api/settings", { [name]: value });
  document.cookie = `tetrad-${name}=; path=/; max-age=0; samesite=strict`;
}

get("show-address").addEventListener("click", (event) => press(event.currentTarget, async () => {
  const list = get("addresses");
  const button = get("show-address");
  if (list.hidden) {
    const { addresses } = await ask("GET", "/api/settings/address");
    list.replaceChildren(...addresses.map((address) => h("li", { class: "address" }, h("code", { class: "path small grow" }, address), h("button", { type: "button", class: "button small", onclick: () => copyText(address) }, _("Copy")))));
  }
  list.hidden = !list.hidden;
  button.setAttribute("aria-expanded", String(!list.hidden));
  button.textContent = list.hidden ? _("Show the start address") : _("Hide the start address");
}));

get("check").addEventListener("click", (event) => press(event.currentTarget, async () => {
  const list = get("checks");
  const working = h("li", { class: "quiet" }, h("span", {}), h("span", {}, _("Checking …")));
  list.replaceChildren(working);
  await askLines("/api/settings/check-up", ({ state, label, found, advice }) => {
    working.before(h("li", {}, badge(label, state), h("span", {}, found, advice && h("span", { class: "quiet block" }, advice))));
  });
  working.remove();
}));

connect();
