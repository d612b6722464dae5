// The page Pick best: saves across, strengths down, one prompt at a time; beside it the chosen save.
import { ask, press } from "./api.js";
import { busyNote } from "./busy.js";
import { Cells } from "./cells.js";
import { copyText } from "./clipboard.js";
import { openCopy } from "./copy.js";
import { announce, get, h } from "./dom.js";
import { connect } from "./live.js";
import { _, gap, ngettext, number } from "./text.js";

const COLUMNS = 6;
const data = JSON.parse(get("data").textContent);
const address = `/api/runs/${encodeURIComponent(data.name)}`;
const cells = new Cells(() => address, { onChange: showCell, onProblem: showProblem, onBusy: showBusy });
const observer = new IntersectionObserver(see, { rootMargin: "64px" });
const elements = new Map(); // the cell's button, by key
const own = []; // prompts that were added
let stars = data.stars;
let prompt = data.prompts[0]?.text ?? data.word;
let showsAll = data.saves.length <= COLUMNS;
let chosen = null;

const wishOf = (save, strength) => ({ file: save?.file ?? "", strength, prompt });
const isStarred = (save, strength) => stars.some((star) => star.file === save.file && star.strength === strength);
const titleOf = (save, strength) => (data.has_strength ? _("Step {step} at {strength}", { step: number(save.step), strength }) : _("Step {step}", { step: number(save.step) }));
const thumbnail = (id) => `${address}/cells/${id}/thumbnail`;

// ---- the matrix ----

function pickSaves() {
  const { saves } = data;
  if (showsAll) return saves;
  return Array.from({ length: COLUMNS }, (_unused, index) => saves[Math.round((index * (saves.length - 1)) / (COLUMNS - 1))]);
}

function showMatrix() {
  observer.disconnect();
  elements.clear();
  const saves = pickSaves();
  get("summary").textContent = [data.name, ngettext("{count} save", "{count} saves", data.saves.length), data.has_strength && ngettext("{count} strength", "{count} strengths", data.strengths.length), _("seed {seed}", { seed: data.seed })].filter(Boolean).join(" · ");
  const head = h("div", { class: "line", role: "row" }, h("span", { class: "head corner", role: "columnheader" }, h("span", { class: "sr" }, _("Strength"))), ...saves.map((save) => h("span", { class: "head", role: "columnheader" }, number(save.step))));
  const lines = data.strengths.map((strength, row) => h("div", { class: "line", role: "row" },
    h("div", { class: "rowhead", role: "rowheader" }, data.has_strength ? h("span", {}, _("strength"), " ", h("b", {}, strength.toFixed(1))) : h("span", {}, _("the whole model"))),
    ...saves.map((save, column) => cell(save, strength, row, column))));
  const grid = h("div", { class: `matrix picks${saves.length > COLUMNS ? " many" : ""}`, role: "grid", "aria-label": _("Saves: strengths down, steps across") }, head, ...lines);
  grid.style.setProperty("--n", Math.min(saves.length, COLUMNS));
  get("matrix").replaceChildren(grid);
  if (data.saves.length > COLUMNS) {
    get("modes").replaceChildren(...[[false, _("Even spread")], [true, _("All {count}", { count: number(data.saves.length) })]].map(([all, word]) => h("button", { type: "button", "aria-pressed": String(all === showsAll), onclick: () => { cells.letAll(); showsAll = all; showMatrix(); } }, word)));
  } else get("modes").hidden = true;
  for (const { button } of elements.values()) observer.observe(button);
  showDrawn();
}

function cell(save, strength, row, column) {
  const wish = wishOf(save, strength);
  const button = h("button", { type: "button", class: "cell", "data-row": row, "data-column": column, onclick: () => choose(save, strength), onfocus: () => choose(save, strength), ondblclick: enlarge });
  elements.set(Cells.key(wish), { button, save, strength, wish });
  paint(elements.get(Cells.key(wish)));
  return h("div", { class: "pick-cell", role: "gridcell" }, button, h("span", { class: "fig small" }, h("span", { class: "its-step" }, number(save.step)), figure(save, strength), isProposed(save, strength) && h("b", { class: "proposed-note" }, _("proposed"))));
}

// What the judge has measured of a save at a strength; nothing where it was not judged.
const figuresOf = (save, strength) => data.figures[save.file]?.[String(strength)] ?? [];
const isProposed = (save, strength) => data.proposal?.file === save.file && data.proposal?.strength === strength;

// The figure under an image: the likeness, or another one that was measured, or else what is known of the save.
function figure(save, strength) {
  const figures = figuresOf(save, strength);
  const first = figures.find(({ name }) => name === "likeness") ?? figures[0];
  return first ? `${first.title} ${first.value}` : save.loss ? _("loss {loss}", { loss: save.loss }) : save.size;
}

function paint({ button, save, strength, wish }) {
  const key = Cells.key(wish);
  const id = cells.ready.get(key);
  const isChosen = chosen?.save === save && chosen?.strength === strength;
  const starred = isStarred(save, strength);
  button.className = `cell${id ? "" : " wait"}${isChosen ? " picked" : ""}${isProposed(save, strength) ? " proposed" : ""}`;
  button.tabIndex = isChosen ? 0 : -1;
  button.setAttribute("aria-label", [titleOf(save, strength), starred && _("starred"), isProposed(save, strength) && _("proposed by the judge"), !id && (cells.working.has(key) ? _("is being generated") : _("not generated yet"))].filter(Boolean).join(", "));
  const content = id ? h("img", { src: thumbnail(id), width: 160, height: 160, alt: "" }) : h("span", { "aria-hidden": "true" }, cells.word(wish));
  button.replaceChildren(content, ...(starred ? [h("span", { class: "star", "aria-hidden": "true" }, "★")] : []));
}

function showCell(key) {
  if (elements.has(key)) paint(elements.get(key));
  showDrawn();
  if (chosen && [Cells.key(wishOf(chosen.save, chosen.strength)), Cells.key(wishOf(null, 1))].includes(key)) showImages();
  if (chosen && stars.some((star) => Cells.key({ ...star, prompt }) === key)) showStars();
}

function showDrawn() {
  const keys = [...elements.keys()];
  get("drawn").textContent = ngettext("{ready} of {count} image generated.", "{ready} of {count} images generated.", keys.length, { ready: keys.filter((key) => cells.ready.has(key)).length });
}

function see(entries) {
  for (const { target, isIntersecting } of entries) {
    const found = [...elements.values()].find(({ button }) => button === target);
    if (found) (isIntersecting ? cells.want(found.wish) : cells.let(found.wish));
  }
}

function showProblem(error) {
  if (!error) {
    get("problem").replaceChildren();
    return;
  }
  const code = error.answer?.code;
  get("problem").replaceChildren(h("div", { class: `note ${code ? "bad" : ""} with-action`, role: code ? "alert" : "status" }, h("div", {}, h("p", {}, error.message, " ", code && h("code", {}, code)),
    h("div", { class: "row" }, h("button", { type: "button", class: "button small", onclick: () => { showProblem(null); cells.again(); } }, _("Try again"))))));
}

function showBusy(state) {
  get("problem")?.replaceChildren(...(state ? [busyNote(state)] : []));
  elements.forEach(paint);
  showImages();
}

// ---- keys ----

get("matrix").addEventListener("keydown", (event) => {
  const button = event.target.closest("[data-row]");
  if (!button) return;
  const by = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
  if (by) {
    const [row, column] = [Number(button.dataset.row) + by[0], Number(button.dataset.column) + by[1]];
    get("matrix").querySelector(`[data-row="${row}"][data-column="${column}"]`)?.focus();
  } else if (event.key === "Enter") enlarge();
  else if (event.key.toLowerCase() === "s" && !event.ctrlKey && !event.metaKey && !event.altKey) star(chosen);
  else return;
  event.preventDefault();
});

// ---- the chosen save ----

function choose(save, strength) {
  const before = chosen;
  if (before?.save === save && before?.strength === strength) return;
  chosen = { save, strength };
  for (const each of [before, chosen]) if (each) repaint(each);
  showSide();
}

function repaint({ save, strength }) {
  const found = elements.get(Cells.key(wishOf(save, strength)));
  if (found) paint(found);
}

async function star({ save, strength }) {
  const starred = !isStarred(save, strength);
  stars = await ask("PUT", `${address}/stars`, { file: save.file, strength, is_starred: starred });
  repaint({ save, strength });
  showSide();
  announce(starred ? _("{title} is starred.", { title: titleOf(save, strength) }) : _("The star of {title} is taken away.", { title: titleOf(save, strength) }));
}

function showSide() {
  const { save, strength } = chosen;
  const starred = isStarred(save, strength);
  const facts = [[_("Step"), save.epoch === null ? number(save.step) : _("{step} · epoch {epoch}", { step: number(save.step), epoch: save.epoch })], [_("Loss, smoothed"), save.loss || "–"], [_("File"), save.file], [_("Size"), save.size], ...figuresOf(save, strength).map(({ title, value }) => [title, value])];
  const query = new URLSearchParams({ run: data.name, file: save.file, strength, prompt });
  const focused = document.activeElement?.dataset?.keep;
  get("side").replaceChildren(
    h("section", { class: "card pad-s stack", "aria-labelledby": "h-chosen" },
      h("div", { class: "row between" }, h("h2", { id: "h-chosen" }, titleOf(save, strength)),
        h("button", { type: "button", class: "button icon small", "data-keep": "star", "aria-pressed": String(starred), "aria-label": _("Star"), onclick: (event) => press(event.currentTarget, () => star(chosen)) }, starred ? "★" : "☆")),
      h("div", { class: "cols-2 pair", id: "pair" }),
      isProposed(save, strength) && h("p", { class: "small" }, h("b", {}, _("Proposed by the judge.")), gap, data.proposal.reason),
      h("dl", { class: "pairs" }, ...facts.flatMap(([title, value]) => [h("dt", {}, title), h("dd", {}, value)])),
      h("button", { type: "button", class: "button primary", "data-keep": "copy", onclick: () => copy(false) }, _("Copy to my WebUI")),
      h("div", { class: "row half" }, h("button", { type: "button", class: "button", "data-keep": "export", onclick: () => copy(true) }, _("Export")),
        h("a", { class: "button", href: `/generate?${query}` }, _("Generate with it"))),
      h("button", { type: "button", class: "button ghost small", "data-keep": "prompt", onclick: (event) => press(event.currentTarget, copyPrompt) }, _("Copy the prompt"))),
    stars.length ? h("section", { class: "card pad-s stack tight", "aria-labelledby": "h-stars" }, h("h3", { id: "h-stars" }, _("Starred"), " ", h("span", { class: "quiet" }, String(stars.length))), h("ul", { class: "stars", id: "stars" })) : "");
  showStars();
  showImages();
  if (focused) get("side").querySelector(`[data-keep="${focused}"]`)?.focus();
}

function showStars() {
  get("stars")?.replaceChildren(...stars.map(starRow));
}

function starRow({ file, strength }) {
  const save = data.saves.find((each) => each.file === file);
  const id = cells.ready.get(Cells.key(wishOf(save, strength)));
  if (!id) cells.want(wishOf(save, strength));
  return h("li", {}, h("button", { type: "button", class: "choose", onclick: () => goTo(save, strength) },
    id ? h("img", { class: "thumb", src: thumbnail(id), width: 48, height: 48, alt: "" }) : h("span", { class: "thumb blank", "aria-hidden": "true" }),
    h("span", {}, titleOf(save, strength), h("br"), h("span", { class: "quiet small" }, figure(save, strength)))));
}

function goTo(save, strength) {
  if (!elements.has(Cells.key(wishOf(save, strength)))) { showsAll = true; showMatrix(); }
  elements.get(Cells.key(wishOf(save, strength)))?.button.focus();
}

function showImages() {
  const pair = get("pair");
  if (!pair) return;
  const base = wishOf(null, 1);
  const picture = (wish, caption, alt) => {
    const id = cells.ready.get(Cells.key(wish));
    return h("figure", {}, id ? h("button", { type: "button", class: "plain-image", "aria-label": _("Enlarge: {alt}", { alt }), onclick: () => show(id, alt) }, h("img", { src: `${address}/cells/${id}`, width: 160, height: 160, alt: "" })) : h("div", { class: "cell wait" }, cells.word(wish)), h("figcaption", { class: "small quiet" }, caption));
  };
  pair.replaceChildren(picture(wishOf(chosen.save, chosen.strength), _("with this save"), titleOf(chosen.save, chosen.strength)), picture(base, _("base model alone"), _("the base model alone")));
  cells.want(wishOf(chosen.save, chosen.strength));
  cells.want(base);
}

const copy = (isExport) => openCopy({ address, ...chosen, prompt, isExport, isModel: !data.has_strength });

async function copyPrompt() {
  const { prompt: text } = await ask("POST", `${address}/prompt`, { file: chosen.save.file, strength: chosen.strength, prompt });
  await copyText(text);
}

function enlarge() {
  const id = chosen && cells.ready.get(Cells.key(wishOf(chosen.save, chosen.strength)));
  if (id) show(id, titleOf(chosen.save, chosen.strength));
}

function show(id, title) {
  const viewer = get("viewer");
  viewer.replaceChildren(h("div", { class: "row between" }, h("h2", { id: "viewer-title" }, title), h("button", { type: "button", class: "button icon", "aria-label": _("Close"), autofocus: true, onclick: () => viewer.close() }, "✕")),
    h("img", { src: `${address}/cells/${id}`, alt: title }), h("p", { class: "small mono" }, prompt));
  viewer.showModal();
}

// ---- prompts ----

function showPrompts() {
  const chips = [...data.prompts, ...own].map(({ text, badge }) => h("button", { type: "button", class: `chip${text === prompt ? " on" : ""}`, "aria-pressed": String(text === prompt), onclick: () => usePrompt(text) }, text, badge && h("span", { class: "badge plain" }, badge)));
  get("prompts").replaceChildren(...chips, h("button", { type: "button", class: "chip", "aria-label": _("Add a prompt"), onclick: addPrompt }, "+"));
}

function usePrompt(text) {
  cells.letAll();
  prompt = text;
  showPrompts();
  showMatrix();
  if (chosen) showSide();
  get("prompts").querySelector("[aria-pressed=true]")?.focus();
}

function addPrompt() {
  const box = h("textarea", { rows: 3, id: "new-prompt", spellcheck: "false" });
  box.value = prompt;
  const use = () => { const text = box.value.trim(); dialog.close(); if (!text) return; if (![...data.prompts, ...own].some((each) => each.text === text)) own.push({ text, badge: "" }); usePrompt(text); };
  const dialog = h("dialog", { class: "dialog", "aria-labelledby": "prompt-title" }, h("h2", { id: "prompt-title" }, _("Compare with another prompt")),
    h("div", { class: "field" }, h("label", { for: "new-prompt" }, _("Prompt")), box, data.word ? h("p", { class: "help" }, _("The trigger word is {word}.", { word: data.word })) : null),
    h("footer", {}, h("button", { type: "button", class: "button", onclick: () => dialog.close() }, _("Cancel")), h("button", { type: "button", class: "button primary", onclick: use }, _("Compare"))));
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

if (data.saves.length) {
  showPrompts();
  showMatrix();
  const proposed = data.saves.find((each) => each.file === data.proposal?.file);
  const first = stars[0] ? [data.saves.find((each) => each.file === stars[0].file), stars[0].strength] : proposed ? [proposed, data.proposal.strength] : [data.saves.at(-1), data.strengths.includes(0.7) ? 0.7 : data.strengths[0]];
  choose(...first);
} else {
  get("pick").replaceChildren(h("div", { class: "card empty-state" }, h("p", {}, h("b", {}, _("No saves yet"))), h("p", { class: "quiet" }, _("The run has not saved a file yet. They appear here as soon as it has."))));
}
connect();
