// Choose what to compare: the same images are trained with each method, after a look at the plan; runs that are there
// are ticked.
import { ask, press } from "./api.js";
import { badge, get, h } from "./dom.js";
import { connect } from "./live.js";
import { _, ngettext } from "./text.js";

const { least, most } = JSON.parse(get("data").textContent);

function source() {
  const chosen = get("train").querySelector("input:checked");
  return "draft" in chosen.dataset ? { draft: chosen.value } : { images: chosen.value };
}

// The button that starts takes the place of the one that plans as the first on the page.
function fillPlan(...parts) {
  get("plan").replaceChildren(...parts);
  get("see-plan").classList.toggle("primary", !get("plan").querySelector(".primary"));
}

get("train").addEventListener("change", () => fillPlan());

get("train").addEventListener("submit", (event) => {
  event.preventDefault();
  const wish = source();
  press(get("see-plan"), async () => {
    fillPlan(h("p", { class: "small quiet" }, _("Looking at the images and the memory …")));
    const plan = await ask("GET", `/api/compare/plan?${new URLSearchParams(wish)}`).finally(() => fillPlan());
    if (JSON.stringify(source()) === JSON.stringify(wish)) showPlan(plan, wish);
  });
});

// What each training takes, and all together, before anything is started.
function showPlan(plan, wish) {
  const state = (each) => (each.fits ? badge(_("fits"), "ok") : badge(_("does not fit"), "bad"));
  const row = (each) => h("tr", { class: "plain" }, h("td", { class: "name-col" }, h("b", {}, each.title)), h("td", { class: "num" }, each.time), h("td", { class: "num desk" }, each.file), h("td", {}, h("span", { class: "row" }, h("span", { class: "num" }, each.memory), state(each))));
  const head = (word, name = "") => h("th", { class: name }, word);
  const start = h("button", { type: "button", class: "button primary", "data-writes": true, onclick: () => press(start, async () => { location.href = (await ask("POST", "/api/compare", wish)).address; }) }, ngettext("Start {count} training", "Start {count} trainings", plan.count));
  fillPlan(
    h("table", { class: "table" }, h("thead", {}, h("tr", {}, head(_("Method")), head(_("Time")), head(_("File"), "desk"), head(_("Memory, {free} free", { free: plan.free_memory })))), h("tbody", {}, ...plan.methods.map(row))),
    h("div", { class: "row wide" }, plan.count > 0 && start, h("p", {}, plan.count ? _("About {time} in all, one after the other. The page can be closed meanwhile.", { time: plan.time }) : _("None of them fits."))),
  );
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
