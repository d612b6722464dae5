// Words: the trigger word with its check, and the captions, one by one or many at once.
import { ask, press, ServerError, showProblem } from "./api.js";
import { CaptionList } from "./caption_list.js";
import { announce, badge, get, h } from "./dom.js";
import { address, change, draft, onLeave, store } from "./draft.js";
import { connect } from "./live.js";
import { _, ngettext } from "./text.js";
import { toast } from "./toast.js";

const MAX_TAGS = 60;
let usable = null; // images that can be trained on
let captions = { rows: [], tags: [], common: [], changes: 0 };
const chosen = new Set(); // tags
const list = new CaptionList({ word: () => get("word").value.trim(), save });

// ---- trigger word ----

let checking = 0;

async function checkWord(word) {
  checking += 1;
  const mine = checking;
  let found;
  try {
    found = await ask("GET", address(`/word?${new URLSearchParams({ word })}`));
  } catch (error) {
    if (!(error instanceof ServerError)) throw error;
    if (mine === checking) showWord("bad", badge(_("not possible"), "bad"), ` ${error.message}`);
    return;
  }
  if (mine !== checking) return;
  if (found.error) {
    showWord("bad", badge(_("not possible"), "bad"), ` ${found.error}`);
    return;
  }
  if (!get("word").value) get("word").value = found.word;
  get("suggestions").replaceChildren(...found.suggestions.map((each) => h("button", { type: "button", class: "chip mono", onclick: () => takeWord(each) }, each)));
  const tokens = ngettext("{count} token that means nothing to the model yet. You write it in prompts.", "{count} tokens that mean nothing to the model yet. You write it in prompts.", found.tokens);
  if (found.warnings.length) showWord("", badge(_("not rare"), "warn"), ` ${found.warnings[0]}`);
  else showWord("ok", badge(_("rare"), "ok"), ` ${tokens}`);
  showCoach();
  list.refresh();
}

function showWord(tone, ...parts) {
  get("word-field").classList.toggle("ok", tone === "ok");
  get("word-field").classList.toggle("bad", tone === "bad");
  get("word-help").replaceChildren(...parts);
}

function takeWord(word) {
  get("word").value = word;
  change({ trigger_word: word });
  checkWord(word);
  get("word").focus();
}

let timer;
get("word").addEventListener("input", () => {
  const word = get("word").value.trim();
  if (word) change({ trigger_word: word });
  clearTimeout(timer);
  timer = setTimeout(() => { if (word) checkWord(word); }, 400);
});
get("class-word").addEventListener("input", () => change({ class_word: get("class-word").value.trim() }));

// ---- captions ----

function show(next) {
  usable ??= new Set(next.usable);
  captions = { ...next, rows: next.rows.filter((row) => usable.has(row.id)) };
  for (const tag of [...chosen]) if (!next.tags.some(([name]) => name === tag)) chosen.delete(tag);
  list.setRows(captions.rows, [...chosen]);
  const count = captions.rows.filter((row) => row.text).length;
  const total = captions.rows.length;
  get("captioned").textContent = ngettext("{captioned} of {count} image", "{captioned} of {count} images", total, { captioned: count });
  get("undo").disabled = !captions.changes;
  get("foot-text").textContent = ngettext("{captioned} of {count} image has a caption; without one, an image is trained as “a photo of” the trigger word", "{captioned} of {count} images have a caption; without one, an image is trained as “a photo of” the trigger word", total, { captioned: count });
  showTags();
  showCoach();
  showFind();
}

async function save(texts) {
  try {
    const { changed, ...next } = await ask("PATCH", address("/captions"), { texts });
    if (changed) show(next);
  } catch (error) {
    showProblem(error);
  }
}

async function edit(values, describe) {
  await list.flush();
  const { changed, ...next } = await ask("POST", address("/captions/edits"), values);
  show(next);
  toast(describe(changed), changed ? { undo } : {});
}

async function undo() {
  await list.flush();
  const { changed, ...next } = await ask("POST", address("/captions/undo"));
  show(next);
  announce(ngettext("Undone in {count} caption.", "Undone in {count} captions.", changed));
}

get("undo").addEventListener("click", (event) => press(event.currentTarget, undo));
document.addEventListener("keydown", (event) => {
  if (event.key.toLowerCase() !== "z" || !(event.ctrlKey || event.metaKey) || event.shiftKey) return;
  const field = event.target.closest("input, textarea");
  if (field && (!list.owns(field) || list.isChanged(field))) return; // the browser's own undo, while one types
  event.preventDefault();
  if (captions.changes) press(get("undo"), undo);
});

// ---- find and replace ----

const countHits = (text) => (text ? captions.rows.filter((row) => row.text.includes(text)).length : 0);

function showFind() {
  const text = get("find-text").value;
  const hits = countHits(text);
  get("find-replace").disabled = !hits;
  get("find-replace").textContent = text ? _("Replace in {count}", { count: hits }) : _("Replace");
  list.setFilter({ text });
}
get("find-text").addEventListener("input", showFind);
get("find").addEventListener("submit", (event) => {
  event.preventDefault();
  const [text, replacement] = [get("find-text").value, get("find-with").value];
  if (!countHits(text)) return;
  press(get("find-replace"), () => edit({ do: "replace", text, replacement }, (count) => ngettext("Replaced in {count} caption.", "Replaced in {count} captions.", count)));
});

// ---- tags ----

function showTags() {
  const typed = get("tag").value.trim().toLowerCase();
  const tags = captions.tags.filter(([tag]) => tag.toLowerCase().includes(typed));
  const focused = document.activeElement?.dataset?.tag;
  get("tags").replaceChildren(...tags.slice(0, MAX_TAGS).map(([tag, count]) => h("button", {
    type: "button", class: `chip ${chosen.has(tag) ? "on" : ""}`, "aria-pressed": String(chosen.has(tag)), "data-tag": tag, title: tag, onclick: () => toggle(tag),
  }, h("span", { class: "cut" }, tag), " ", h("span", { class: "n" }, count))));
  if (tags.length > MAX_TAGS) get("tags").append(h("span", { class: "small quiet" }, ngettext("and {count} more", "and {count} more", tags.length - MAX_TAGS)));
  if (!captions.tags.length) get("tags").append(h("span", { class: "small quiet" }, _("No caption has a tag yet.")));
  if (focused) get("tags").querySelector(`[data-tag="${CSS.escape(focused)}"]`)?.focus();
  const hasTags = chosen.size > 0 || Boolean(typed);
  get("tag-add").disabled = get("tag-remove").disabled = !hasTags;
}

function toggle(tag) {
  if (!chosen.delete(tag)) chosen.add(tag);
  showTags();
  list.setRows(captions.rows, [...chosen]);
}

const wantedTags = () => (chosen.size ? [...chosen] : [get("tag").value.trim()]);
get("tag").addEventListener("input", showTags);
get("tag").addEventListener("keydown", (event) => { if (event.key === "Enter") get("tag-add").click(); });
for (const [id, action] of [["tag-add", "add"], ["tag-remove", "remove"]]) {
  get(id).addEventListener("click", (event) => press(event.currentTarget, async () => {
    const text = wantedTags();
    const describe = action === "add"
      ? (count) => ngettext("Added to {count} caption.", "Added to {count} captions.", count)
      : (count) => ngettext("Removed from {count} caption.", "Removed from {count} captions.", count);
    await edit({ do: action, text }, describe);
    get("tag").value = "";
    showTags();
  }));
}

// ---- what to leave out ----

function showCoach() {
  const word = get("word").value.trim() || "…";
  get("h-coach").textContent = _("What should {word} mean?", { word });
  const { common } = captions;
  const isStyle = draft.goal === "style";
  get("coach").classList.toggle("ok", !common.length && captions.tags.length > 0);
  const text = get("coach").querySelector("p");
  if (!captions.tags.length) text.textContent = _("Without captions {word} takes on all that the images have in common. That is fine for a start.", { word });
  else if (common.length) text.textContent = isStyle ? _("{tags}: in nearly every caption. Leave out what belongs to the style.", { tags: common.join(", ") }) : _("{tags}: in nearly every caption. Leave it out, and {word} takes on its meaning.", { tags: common.join(", "), word });
  else text.textContent = _("No tag is in nearly every caption, so nothing need be left out.");
  get("coach-actions").hidden = !common.length;
  get("coach-actions").replaceChildren(h("button", { type: "button", class: "button small", onclick: (event) => press(event.currentTarget, () => edit({ do: "remove", text: common }, (count) => ngettext("Left out of {count} caption.", "Left out of {count} captions.", count))) }, ngettext("Leave it out", "Leave them out", common.length)));
}

// ---- start ----

onLeave.push(() => list.flush());
connect();
checkWord(get("word").value.trim());
ask("GET", address("/captions")).then(show, (error) => {
  if (!(error instanceof ServerError)) throw error;
  get("captions-part").hidden = !draft.images;
  get("captions-part").replaceChildren(h("div", { class: "note bad", role: "alert" }, h("div", {}, h("p", {}, error.message, " ", h("code", { class: "quiet" }, error.answer?.code ?? "")))));
});
addEventListener("pagehide", () => { store(); list.flush(); });
