// Compare: a column for the base model and for each run, with images of the same prompt at the same seeds, and figures.
import { ask, press } from "./api.js";
import { busyNote } from "./busy.js";
import { Cells } from "./cells.js";
import { badge, get, h } from "./dom.js";
import { connect } from "./live.js";
import { _, ngettext, number } from "./text.js";

const query = location.search;
const cells = new Cells((wish) => `/api/runs/${encodeURIComponent(wish.run)}`, { onChange: paintCell, onProblem: showProblem, onBusy: showBusy });
const elements = new Map(); // the buttons of the images, by key
const observer = new IntersectionObserver(see, { rootMargin: "64px" });
let data = JSON.parse(get("data").textContent);
let prompt = data.prompts[0]?.text ?? "";

// The wish for an image; without a run it is the base model's, which the first run knows.
const wishOf = (column, seed) => ({ run: column?.name || data.like, file: column?.file ?? "", strength: 1, prompt, seed, like: data.like });
const addressOf = (wish, id) => `/api/runs/${encodeURIComponent(wish.run)}/cells/${id}`;

function show() {
  observer.disconnect();
  elements.clear();
  const { columns, seeds } = data;
  get("summary").textContent = [ngettext("{count} run", "{count} runs", columns.length), seeds.length && _("seeds {first} to {last}", { first: seeds[0], last: seeds.at(-1) })].filter(Boolean).join(" · ");
  get("note").replaceChildren(...(data.note ? [h("div", { class: "note warn" }, h("div", {}, data.note))] : []));
  showAnswer();
  showPrompts();
  const all = [...(data.like ? [null] : []), ...columns];
  get("columns").style.setProperty("--n", all.length);
  get("columns").replaceChildren(...all.map((column) => (column ? runColumn(column) : baseColumn())));
  for (const button of elements.values()) observer.observe(button.element);
}

// Which method to use, where the runs were judged; the rule of it when it is asked for.
function showAnswer() {
  const { sentence, rule } = data.answer;
  get("answer").replaceChildren(...(sentence ? [h("div", { class: "card pad-s stack tight" }, h("p", {}, h("b", {}, sentence)),
    h("details", { class: "small quiet" }, h("summary", {}, _("How this is decided")), h("p", {}, rule)))] : []));
}

const baseColumn = () => h("section", { class: "card pad-s compared", "aria-labelledby": "h-base" },
  h("div", { class: "stack tight" }, h("h2", { id: "h-base" }, _("Base model alone")), h("p", { class: "small quiet" }, _("before any training"))),
  images(null), h("div", {}));

function runColumn(column) {
  const id = `h-${column.address}`;
  const resume = column.can_resume && h("button", { type: "button", class: "button small", "data-writes": true, onclick: (event) => press(event.currentTarget, () => resumeRun(column.name)) }, _("Resume"));
  const isPick = Boolean(data.answer.method) && column.kind === data.answer.method;
  return h("section", { class: `card pad-s compared${isPick ? " picked" : ""}`, "aria-labelledby": id },
    h("div", { class: "stack tight" }, h("div", { class: "row between" }, h("h2", { id }, column.method), isPick && badge(_("use this"), "ok")),
      h("div", { class: "row between small" }, h("a", { href: column.address }, column.shown_name), badge(column.word, column.tone, column.state === "running")),
      column.state === "finished" ? null : h("p", { class: "small quiet" }, column.sentence), resume),
    column.file ? images(column) : h("p", { class: "small quiet nothing" }, column.is_alive || column.state === "queued" ? _("Images come with its first file.") : _("It has no file, so there are no images.")),
    h("dl", { class: "pairs" }, ...column.figures.flatMap(({ label, value }) => [h("dt", {}, label), h("dd", {}, value)])));
}

async function resumeRun(name) {
  await ask("POST", `/api/runs/${encodeURIComponent(name)}/resume`);
  await refresh();
}

function images(column) {
  return h("div", { class: "compared-images" }, ...data.seeds.map((seed) => {
    const wish = wishOf(column, seed);
    const title = _("{title}, seed {seed}", { title: column?.method ?? _("Base model alone"), seed });
    const element = h("button", { type: "button", onclick: () => enlarge(wish, title) });
    elements.set(Cells.key(wish), { element, wish, title });
    paint(Cells.key(wish));
    return element;
  }));
}

function paint(key) {
  const { element, wish, title } = elements.get(key);
  const id = cells.ready.get(key);
  element.className = `cell${id ? "" : " wait"}`;
  element.setAttribute("aria-label", id ? _("Enlarge: {alt}", { alt: title }) : `${title}, ${_("not generated yet")}`);
  element.replaceChildren(id ? h("img", { src: `${addressOf(wish, id)}/thumbnail`, width: 192, height: 192, alt: "" }) : h("span", { "aria-hidden": "true" }, cells.word(wish)));
}

function paintCell(key) {
  if (elements.has(key)) paint(key);
}

function see(entries) {
  for (const { target, isIntersecting } of entries) {
    const found = [...elements.values()].find(({ element }) => element === target);
    if (found) (isIntersecting ? cells.want(found.wish) : cells.let(found.wish));
  }
}

function enlarge(wish, title) {
  const id = cells.ready.get(Cells.key(wish));
  if (!id) return;
  const viewer = get("viewer");
  viewer.replaceChildren(h("div", { class: "row between" }, h("h2", { id: "viewer-title" }, title), h("button", { type: "button", class: "button icon", "aria-label": _("Close"), autofocus: true, onclick: () => viewer.close() }, "✕")),
    h("img", { src: addressOf(wish, id), alt: title }), h("p", { class: "small mono" }, prompt));
  viewer.showModal();
}

function showPrompts() {
  get("prompts").replaceChildren(...data.prompts.map(({ text, badge: purpose }) => h("button", { type: "button", class: `chip${text === prompt ? " on" : ""}`, "aria-pressed": String(text === prompt), onclick: () => usePrompt(text) }, text, purpose && h("span", { class: "badge plain" }, purpose))));
}

function usePrompt(text) {
  cells.letAll();
  prompt = text;
  show();
  get("prompts").querySelector("[aria-pressed=true]")?.focus();
}

function showProblem(error) {
  const code = error?.answer?.code;
  get("problem").replaceChildren(...(error ? [h("div", { class: `note ${code ? "bad" : ""} with-action`, role: code ? "alert" : "status" }, h("div", {}, h("p", {}, error.message, " ", code && h("code", {}, code)),
    h("div", { class: "row" }, h("button", { type: "button", class: "button small", onclick: () => { showProblem(null); cells.again(); } }, _("Try again")))))] : []));
}

function showBusy(state) {
  get("problem").replaceChildren(...(state ? [busyNote(state)] : []));
  for (const key of elements.keys()) paint(key);
}

// Runs that train change their state, and their newest file.
async function refresh() {
  const next = await ask("GET", `/api/compare${query}`).catch(() => null);
  if (!next || JSON.stringify(next) === JSON.stringify(data)) return;
  data = next;
  prompt ||= data.prompts[0]?.text ?? "";
  const focused = [...document.querySelectorAll("button, a")].indexOf(document.activeElement);
  show();
  if (focused >= 0) document.querySelectorAll("button, a")[focused]?.focus();
}

show();
connect({ list: true, handlers: { list: refresh } });
