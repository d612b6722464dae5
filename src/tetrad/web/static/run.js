// The page of a run: put the data of the page in place, then keep it up to date by the stream.
import { ask, press } from "./api.js";
import { announce, badge, get, h, unbroken } from "./dom.js";
import { connect } from "./live.js";
import { Matrix } from "./matrix.js";
import { Plots } from "./plots.js";
import { _, number } from "./text.js";
import { toast } from "./toast.js";

const MAX_EVENTS = 200;
const MAX_LOG = 200;
const QUIET = new Set(["phase", "sampled"]); // in the log, but not in the list of what happened
const data = JSON.parse(get("data").textContent);
const name = data.view.name;
const address = `/api/runs/${encodeURIComponent(name)}`;
const matrix = new Matrix(address);
const plots = new Plots();
const events = [];
const log = [];
let view = null;

// ---- the top of the page ----

function showView(next) {
  if (next === null) {
    location.href = "/";
    return;
  }
  const before = view;
  view = next;
  document.title = `${view.shown_name}${view.is_alive ? `, ${view.percent} %` : ""} · Tetrad`;
  if (before?.state !== view.state || before?.word !== view.word) {
    get("state").replaceChildren(badge(view.word, view.tone, view.state === "running"));
  }
  get("about").textContent = view.about;
  showCommands(before);
  showNote(before);
  showProgress(before);
  showFiles(before);
  matrix.setNext(view.next_preview);
  plots.setSteps(view.steps);
}

const same = (before, key) => before && JSON.stringify(before[key]) === JSON.stringify(view[key]);

function showCommands(before) {
  if (same(before, "commands")) return;
  const words = { save: _("Save now"), sample: _("Preview now"), pause: _("Pause"), continue: _("Continue"), stop: _("Stop and keep") };
  get("commands").replaceChildren(...view.commands.map((command) => h("button", {
    type: "button", class: `button${command === "continue" ? " primary" : ""}`, "data-writes": true,
    onclick: (event) => press(event.currentTarget, async () => toast((await ask("POST", `${address}/commands/${command}`)).text)),
  }, words[command])));
}

function showNote(before) {
  if (same(before, "note")) return;
  const note = view.note;
  if (!note) {
    get("note").replaceChildren();
    return;
  }
  const resume = note.resume && h("button", {
    type: "button", class: "button primary", "data-writes": true,
    onclick: (event) => press(event.currentTarget, async () => { location.href = (await ask("POST", `${address}/resume`)).address; }),
  }, note.resume);
  const restart = note.restart && h("button", {
    type: "button", class: "button primary", "data-writes": true,
    onclick: (event) => press(event.currentTarget, async () => { location.href = (await ask("POST", `${address}/restart`)).address; }),
  }, note.restart);
  const isAlarm = note.tone === "warn" || note.tone === "bad";
  get("note").replaceChildren(h("div", { class: `note ${note.tone} with-action`, role: isAlarm ? "alert" : "status" },
    h("div", {}, h("p", {}, h("b", {}, note.title), note.text, note.code && h("code", { class: "quiet" }, ` ${note.code}`)), (resume || restart) && h("div", { class: "row" }, resume || restart))));
}

function fact(title, value, detail = "") {
  return h("div", {}, h("dt", {}, title), h("dd", {}, value, detail && " ", detail && h("small", {}, detail)));
}

function showProgress(before) {
  if (before && JSON.stringify(before) === JSON.stringify(view)) return;
  const isDone = view.state === "finished";
  const facts = [
    fact(_("Step"), number(view.step), view.step_detail),
    !isDone && fact(_("Time left"), unbroken(view.left), view.left_detail),
    !isDone && fact(_("Speed"), view.speed),
    view.memory && fact(_("Memory"), view.memory.used, view.memory.detail),
    fact(_("Loss, smoothed"), view.loss),
  ].filter(Boolean);
  get("progress").replaceChildren(
    progressBar(),
    view.is_alive || isDone || !view.note?.resume || view.saved >= view.step ? "" : h("p", { class: "small quiet" }, _("Solid: saved. Striped: repeated after resuming.")),
    h("dl", { class: "facts" }, ...facts),
    h("ol", { class: "phases" }, ...view.phases.map((phase) => h("li", { class: phase.state, "aria-current": phase.state === "now" ? "step" : null }, phase.word))),
  );
  const tenth = Math.floor(view.percent / 10);
  if (before && view.is_alive && tenth > Math.floor(before.percent / 10)) announce(view.sentence);
}

function progressBar() {
  const share = (step) => (view.steps ? (100 * Math.min(step, view.steps)) / view.steps : 0);
  const isStopped = !view.is_alive && view.state !== "finished";
  const saved = isStopped ? Math.min(view.saved, view.step) : view.step;
  const role = isStopped
    ? { role: "img", "aria-label": _("Of {steps} steps {saved} are saved, and {repeated} are repeated after resuming", { steps: number(view.steps), saved: number(saved), repeated: number(view.step - saved) }) }
    : { role: "progressbar", "aria-valuemin": 0, "aria-valuemax": 100, "aria-valuenow": view.percent, "aria-valuetext": view.sentence, "aria-label": _("Progress") };
  const bar = h("div", { class: `progress${view.state === "finished" ? " ok" : ""}`, ...role }, h("i"), h("i", { class: "lost" }));
  bar.firstChild.style.width = `${share(saved)}%`;
  bar.lastChild.style.width = `${share(view.step) - share(saved)}%`;
  return bar;
}

function showFiles(before) {
  get("pick").hidden = !view.can_pick;
  get("pick").classList.toggle("primary", !view.is_alive);
  if (same(before, "files")) return;
  get("files").hidden = !view.files.length;
  get("filelist").replaceChildren(...view.files.map((file) => h("li", {},
    h("a", { href: `${address}/files/${encodeURIComponent(file.name)}`, download: file.name }, file.name), h("span", { class: "quiet num" }, file.size))));
}

// ---- what happened, and the log ----

// Of the resume points only the newest is of use, and only that is listed.
function dropEarlierPoint() {
  const index = events.findIndex((event) => event.event === "pointsaved");
  if (index >= 0) events.splice(index, 1);
}

function addEvents(fresh) {
  for (const event of fresh) {
    if (event.event === "pointsaved") dropEarlierPoint();
    log.push(`${event.clock}  ${event.code ? `${event.code} ` : ""}${event.text}`);
    if (!QUIET.has(event.event)) events.unshift(event);
  }
  if (!fresh.length) return;
  events.length = Math.min(events.length, MAX_EVENTS);
  log.splice(0, Math.max(0, log.length - MAX_LOG));
  get("events").replaceChildren(...events.map((event) => h("li", {},
    h("time", {}, event.clock), badge(event.word, event.tone || "plain"),
    h("span", {}, event.text, event.code && h("code", { class: "quiet" }, ` ${event.code}`)))));
  const box = get("log");
  const isAtEnd = box.scrollTop + box.clientHeight >= box.scrollHeight - 4;
  box.textContent = log.join("\n");
  if (isAtEnd) box.scrollTop = box.scrollHeight;
  if (fresh.some((event) => event.event === "saved")) announce(events[0].text);
}

// ---- from the stream ----

async function handleLog(news) {
  if (news.anew) plots.setSeries(await ask("GET", `${address}/series`));
  else if (plots.addSteps(news.steps)) plots.setSeries(await ask("GET", `${address}/series`));
  addEvents(news.events);
  if (news.events.some((event) => event.event === "sampled")) matrix.setPreviews(await ask("GET", `${address}/previews`));
}

showView(data.view);
plots.setSeries(data.series);
matrix.setPreviews(data.previews);
addEvents(data.events);
get("log").scrollTop = get("log").scrollHeight;
get("smoothing").addEventListener("input", (event) => plots.setSmoothing(Number(event.target.value)));
connect({ runs: [name], at: data.mark, handlers: { view: showView, log: handleLog } });
