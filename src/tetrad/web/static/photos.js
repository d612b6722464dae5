// Photos: add images, show what becomes of each, and decide about those that are worth a look.
import { ask, askLines, press, ServerError, showProblem } from "./api.js";
import { showDecisions } from "./decisions.js";
import { announce, badge, get, h } from "./dom.js";
import { address, adopt, change, draft, ensureDraft } from "./draft.js";
import { acceptDrop } from "./drop.js";
import { readDrop, readInput } from "./files.js";
import { countFurther, startFurther } from "./further.js";
import { Inspector } from "./inspector.js";
import "./known.js";
import { connect } from "./live.js";
import { isRecipe, openRecipe } from "./recipe_file.js";
import { _, ngettext } from "./text.js";
import { toast } from "./toast.js";
import { Uploads } from "./uploads.js";

const PREVIEWS = 60; // local previews at once, so that a thousand photographs need no gigabytes
const SCAN_EVERY = 8; // files between two looks while they are added, and at least a quarter of those that are there
const FILTERS = ["all", "ready", "fixed", "look", "unused", "left"];
const TONES = { fixed: "plain", look: "warn", unused: "bad", left: "plain" };
const rows = new Map(); // by id, or by name for a file that is still coming
const tiles = new Map();
let about = { similar: [], refused: [] };
const lost = new Map(); // by name: files that were refused now; a full disk keeps no note of them
let filter = "all";
let chosen = null;
let previews = 0;
let isKnown = !draft?.images; // whether the images were looked at once
const uploads = new Uploads(get("upload"));
const inspector = new Inspector({ reload, onClose: () => choose(null) });

// ---- adding ----

async function add(files) {
  if (isRecipe(files)) return openRecipe(files[0]).catch(showProblem);
  const fresh = uploads.choose(files);
  if (!fresh.length) return undefined;
  await ensureDraft();
  for (const { file, name } of fresh) addWaiting(file, name);
  let stored = 0;
  let due = SCAN_EVERY;
  const sent = uploads.send(address(), fresh, (name, received) => {
    const waiting = rows.get(name);
    if (waiting) waiting.isStored = true;
    for (const refused of received.refused) lost.set(refused.name, refused);
    if (received.stored) lost.delete(name);
    if (!received.stored && received.refused.some((each) => each.name === name)) forget(name);
    stored += 1;
    if (stored < due) return;
    due = stored + Math.max(SCAN_EVERY, Math.round(stored / 4));
    scan();
  });
  showCounts();
  await sent;
  await scan();
  return undefined;
}

function addWaiting(file, name) {
  if (rows.has(name) || !/\.(jpe?g|png|webp|gif|bmp|avif|tiff?|jfif|hei[cf]|jxl|zip)$/i.test(name)) return;
  const isShown = file.type.startsWith("image/") && previews < PREVIEWS;
  previews += isShown;
  rows.set(name, { id: name, name, verdict: "coming", url: isShown ? URL.createObjectURL(file) : "", reasons: [] });
  showTile(rows.get(name));
}

function letPreview(row) {
  URL.revokeObjectURL(row.url);
  previews -= 1;
}

function forget(key) {
  const row = rows.get(key);
  if (row?.url) letPreview(row);
  rows.delete(key);
  tiles.get(key)?.remove();
  tiles.delete(key);
}

// ---- looking ----

let looking = null;
let again = false;

async function scan() {
  if (looking) {
    again = true;
    return looking;
  }
  looking = (async () => {
    try {
      do {
        again = false;
        await look();
      } while (again);
    } finally {
      looking = null;
    }
  })();
  return looking;
}

// Look at the images after one was changed, which may have got another id.
function reload(id) {
  chosen = id ?? chosen;
  return scan();
}

async function look() {
  if (!draft) return;
  const seen = new Set();
  const wereStored = [...rows.values()].filter((row) => row.isStored).map((row) => row.id);
  try {
    await askLines(address("/images"), (line) => {
      if (line.total !== undefined) showLooking(line);
      else if (line.id === undefined) about = { ...line, refused: [...new Map([...lost, ...line.refused.map((each) => [each.name, each])]).values()] };
      else {
        seen.add(line.id);
        put(line);
        if (!line.is_edited) uploads.known.set(line.name, line.size);
      }
    });
  } catch (error) {
    if (!(error instanceof ServerError)) throw error;
    isKnown = true;
    showError(error.message);
    showCounts();
    return;
  }
  for (const [key, row] of rows) if (!seen.has(key) && (row.verdict !== "coming" || wereStored.includes(key))) forget(key);
  for (const { name } of about.refused) if (rows.get(name)?.verdict === "coming") forget(name);
  isKnown = true;
  showError(about.error?.text ?? "");
  showCounts();
  showDecisions({ rows, about, leaveOut, filter });
  if (chosen) inspector.show(rows.get(chosen) ?? null);
}

function showLooking({ done, total }) {
  if (!isKnown) get("drop-title").textContent = _("Looking at the images: {done} of {total}", { done, total });
}

function put(row) {
  const waiting = rows.get(row.name);
  if (waiting?.verdict === "coming") { // it takes the place of the tile that waited for it
    const entries = [...rows].map(([key, value]) => (key === row.name ? [row.id, row] : [key, value]));
    const tile = tiles.get(row.name);
    tiles.delete(row.name);
    if (tile) tiles.set(row.id, tile);
    if (waiting.url) letPreview(waiting);
    rows.clear();
    for (const [key, value] of entries) rows.set(key, value);
  }
  const before = rows.get(row.id);
  rows.set(row.id, row);
  if (!tiles.has(row.id) || JSON.stringify(before) !== JSON.stringify(row) || waiting) showTile(row);
}

function showError(text) {
  get("scan-error").hidden = !text;
  get("scan-error").querySelector("p").textContent = text;
}

// ---- tiles ----

const imageAddress = (row, side) => address(`/images/${row.id}/thumbnail?side=${side}&v=${row.version ?? ""}`);

function showTile(row) {
  const isBlank = row.verdict === "unused" || (row.verdict === "coming" && !row.url);
  const name = row.badge ? `${row.name}, ${row.badge}` : row.name;
  const button = h(
    "button",
    { type: "button", class: `tile ${isBlank ? "blank" : ""} is-${row.verdict}`, "aria-pressed": String(row.id === chosen), "aria-label": name, title: name, "data-id": row.id, tabindex: "-1" },
    isBlank ? h("span", { class: "mono" }, row.name) : h("img", { src: row.url || imageAddress(row, 256), alt: "", loading: "lazy", width: 256, height: 256 }),
    row.badge && h("span", { class: "over" }, badge(row.badge, TONES[row.verdict] ?? "plain")),
  );
  const before = tiles.get(row.id);
  const item = before ?? h("li");
  const hadFocus = before?.contains(document.activeElement);
  item.replaceChildren(button);
  item.hidden = !isShown(row);
  if (!before) {
    tiles.set(row.id, item);
    get("tiles").append(item);
  }
  if (hadFocus) button.focus();
  roveSoon();
}

const isShown = (row) => filter === "all" ? row.verdict !== "left" || rows.size < 400 : row.verdict === filter;

let willRove = false;

// Once for all tiles that change now: with thousands of them each time would take seconds.
function roveSoon() {
  if (willRove) return;
  willRove = true;
  setTimeout(() => { willRove = false; rove(); });
}

// One tile is in the tab order; the arrow keys go to the others.
function rove() {
  const buttons = [...get("tiles").querySelectorAll("li:not([hidden]) > button")];
  const current = buttons.find((each) => each.dataset.id === chosen) ?? buttons[0];
  for (const each of buttons) each.tabIndex = each === current ? 0 : -1;
}

get("tiles").addEventListener("keydown", (event) => {
  const buttons = [...get("tiles").querySelectorAll("li:not([hidden]) > button")];
  const index = buttons.indexOf(document.activeElement);
  if (index < 0) return;
  const columns = Math.max(1, buttons.findIndex((each) => each.parentElement.offsetTop > buttons[0].parentElement.offsetTop));
  const next = { ArrowRight: index + 1, ArrowLeft: index - 1, ArrowDown: index + columns, ArrowUp: index - columns, Home: 0, End: buttons.length - 1 }[event.key];
  if (event.key === "Delete") press(buttons[index], () => leaveOut([buttons[index].dataset.id]));
  if (next === undefined) return;
  event.preventDefault();
  buttons[next]?.focus();
});

get("tiles").addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button && rows.get(button.dataset.id)?.verdict !== "coming") choose(button.dataset.id);
});

function choose(id) {
  for (const key of [chosen, id]) tiles.get(key)?.firstChild?.setAttribute("aria-pressed", String(key === id));
  chosen = id;
  rove();
  inspector.show(id ? rows.get(id) : null);
}

async function leaveOut(ids) {
  for (const id of ids) await ask("DELETE", address(`/images/${id}`));
  await scan();
  toast(ngettext("{count} image is left out.", "{count} images are left out.", ids.length), {
    undo: async () => {
      for (const id of ids) await ask("PUT", address(`/images/${id}`));
      await scan();
    },
  });
}

// ---- counts ----

function count(verdict) {
  return [...rows.values()].filter((row) => row.verdict === verdict).length;
}

function showCounts() {
  const words = { all: _("All"), ready: _("Ready"), fixed: _("Fixed for you"), look: _("Needs a look"), unused: _("Not used"), left: _("Left out") };
  const counts = { all: rows.size, ...Object.fromEntries(FILTERS.slice(1).map((verdict) => [verdict, count(verdict)])) };
  const usable = counts.ready + counts.fixed + counts.look;
  get("filters").hidden = !rows.size;
  get("filters").replaceChildren(...FILTERS.filter((each) => counts[each] || each === "all").map((each) => h("button", {
    type: "button", class: `chip ${each === filter ? "on" : ""}`, "aria-pressed": String(each === filter), onclick: () => setFilter(each),
  }, words[each], " ", h("span", { class: "n" }, counts[each]))));
  const isEmpty = rows.size === 0 && isKnown;
  document.body.classList.toggle("has-images", !isEmpty);
  get("drop-title").textContent = isEmpty ? _("Drop images, a folder or a zip anywhere on this page") : isKnown ? ngettext("{count} file", "{count} files", rows.size) : _("Looking at the images …");
  if (!isEmpty) get("drop-help").textContent = about.is_own_folder ? _("from {folder}, which is never changed", { folder: about.folder }) : _("Drop more at any time.");
  get("own-folder").hidden = !isEmpty;
  get("further-details").hidden = isEmpty;
  for (const name of ["add-images", "add-folder"]) get(name).classList.toggle("small", !isEmpty);
  const next = get("next");
  const total = usable + (usable ? countFurther() : 0);
  const isReady = usable > 0 && !uploads.isBusy; // leaving would end the upload
  next.textContent = isReady ? ngettext("Continue with {count} image", "Continue with {count} images", total) : uploads.isBusy ? _("Adding images") : isKnown ? _("Add at least one image") : _("Looking at the images …");
  next.setAttribute("aria-disabled", String(!isReady));
  get("foot-text").textContent = isEmpty ? "" : [
    _("{count} can be used", { count: usable }),
    counts.look && _("{count} of them worth a look (optional)", { count: counts.look }),
    counts.unused && _("{count} not used", { count: counts.unused }),
    countFurther() && ngettext("{count} more in other folders", "{count} more in other folders", countFurther()),
  ].filter(Boolean).join(" · ");
  showBuiltinNote(usable > 0);
}

function setFilter(next) {
  filter = next;
  for (const [key, item] of tiles) item.hidden = !isShown(rows.get(key));
  showCounts();
  rove();
  announce(ngettext("{count} image is shown.", "{count} images are shown.", [...tiles.values()].filter((item) => !item.hidden).length));
}

function showBuiltinNote(hasImages) {
  const isHidden = !draft || localStorage.getItem(`tetrad-builtin-${draft.id}`);
  get("builtin-note").hidden = !hasImages || isHidden || draft.model !== "builtin" || draft.images.startsWith("builtin:");
}

// ---- the rest of the page ----

get("next").addEventListener("click", (event) => {
  if (event.currentTarget.getAttribute("aria-disabled") === "true") event.preventDefault();
});
get("goals").addEventListener("change", (event) => change({ goal: event.target.value }));
get("builtin-hide").addEventListener("click", () => {
  localStorage.setItem(`tetrad-builtin-${draft.id}`, "1");
  get("builtin-note").hidden = true;
});
for (const [button, input] of [["add-images", "pick-images"], ["add-folder", "pick-folder"]]) {
  get(button).addEventListener("click", () => get(input).click());
  get(input).addEventListener("change", () => add(readInput(get(input))));
}
acceptDrop(async (transfer) => add(await readDrop(transfer)));

get("folder-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  get("folder-error").textContent = "";
  try {
    await ensureDraft();
    adopt(await ask("POST", address("/folder"), { path: get("folder-path").value, writes_beside: get("folder-beside").checked }));
    await scan();
  } catch (error) {
    if (!(error instanceof ServerError)) throw error;
    get("folder-error").textContent = error.message;
  }
});

connect();
showCounts();
startFurther(showCounts).catch(showProblem);
if (draft) {
  scan().then(async () => {
    if (draft.model) return;
    const { model } = await ask("GET", address("/model")).catch(() => ({})); // which one is found; it may take some seconds
    if (model) adopt({ ...draft, model });
    showCounts();
    if (model === "builtin") await scan(); // which images are small depends on it
  });
}
