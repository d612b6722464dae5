// The captions with their images: rows are made as they come near the screen, and stored 400 ms after the last key.
import { badge, get, h } from "./dom.js";
import { address } from "./draft.js";
import { _, ngettext } from "./text.js";

const CHUNK = 40; // rows that are made at once
const WAIT = 400;
const CHINESE = /[\u3400-\u9fff\u3040-\u30ff\uac00-\ud7af]/;
const WIDE_COMMA = /[，、]/g;

export class CaptionList {
  constructor({ word, save }) {
    this.word = word;
    this.save = save;
    this.rows = [];
    this.tags = [];
    this.kind = "all";
    this.text = "";
    this.typed = new Map(); // by id: what is not stored yet
    this.items = new Map();
    this.observer = new IntersectionObserver((entries) => { if (entries.some((each) => each.isIntersecting)) this.more(); }, { rootMargin: "800px" });
    this.observer.observe(get("caps-more"));
  }

  // The rows as the server has them; a caption that is being typed stays as it is.
  setRows(rows, tags) {
    this.rows = rows;
    this.tags = tags;
    this.showKinds();
    const shown = this.find();
    const isSame = shown.length >= this.items.size && [...this.items.keys()].every((id, index) => shown[index].id === id);
    this.shown = shown;
    if (!isSame) {
      this.items.clear();
      get("caps").replaceChildren();
    }
    for (const row of shown.slice(0, this.items.size)) this.update(row);
    if (this.items.size < CHUNK) this.more();
    this.showRest();
  }

  setFilter({ kind = this.kind, text = this.text }) {
    if (kind === this.kind && text === this.text) return;
    this.kind = kind;
    this.text = text;
    this.setRows(this.rows, this.tags);
  }

  refresh() {
    for (const row of (this.shown ?? []).slice(0, this.items.size)) this.update(row);
  }

  owns(field) { return get("caps").contains(field); }

  isChanged(field) { return this.typed.has(field.closest("li")?.dataset.id); }

  async flush() {
    clearTimeout(this.timer);
    if (!this.typed.size) return;
    const texts = Object.fromEntries(this.typed);
    this.typed.clear();
    await this.save(texts);
  }

  find() {
    const has = (row) => this.tags.every((tag) => splitTags(row.text).includes(tag));
    return this.rows.filter((row) => this.isOfKind(row, this.kind) && has(row) && (!this.text || row.text.includes(this.text)));
  }

  isOfKind(row, kind) {
    if (kind === "missing") return !row.text || this.typed.has(row.id);
    if (kind === "warnings") return warnings(row.text).length > 0 || this.typed.has(row.id);
    return true;
  }

  showKinds() {
    const counts = { missing: this.rows.filter((row) => !row.text).length, warnings: this.rows.filter((row) => warnings(row.text).length).length };
    const titles = { all: _("All"), missing: _("Missing {count}", { count: counts.missing }), warnings: _("Warnings {count}", { count: counts.warnings }) };
    if (this.kind !== "all" && !counts[this.kind]) this.kind = "all";
    const kinds = ["all", "missing", "warnings"].filter((kind) => kind === "all" || counts[kind]);
    get("shown").hidden = kinds.length === 1;
    get("shown").replaceChildren(...kinds.map((kind) => h("button", { type: "button", "aria-pressed": String(kind === this.kind), onclick: () => this.setFilter({ kind }) }, titles[kind])));
  }

  more() {
    if (!this.shown) return;
    const start = this.items.size;
    for (const row of this.shown.slice(start, start + CHUNK)) {
      const item = this.make(row);
      this.items.set(row.id, item);
      get("caps").append(item);
    }
    this.showRest();
  }

  showRest() {
    const rest = this.shown.length - this.items.size;
    const none = this.rows.length ? _("No caption fits.") : "";
    get("caps").hidden = !this.shown.length;
    get("caps-more").textContent = rest ? ngettext("{count} more loads as you scroll.", "{count} more load as you scroll.", rest) : this.shown.length ? "" : none;
  }

  make(row) {
    const id = `caption-${row.id}`;
    const field = h("textarea", { id, rows: "1", lang: "en", spellcheck: "false", oninput: () => this.type(row.id, field), onblur: () => this.flush() });
    const item = h(
      "li", { class: "cap", "data-id": row.id },
      h("img", { class: "cap-img", src: address(`/images/${row.id}/thumbnail`), alt: "", loading: "lazy", width: 96, height: 96 }),
      h(
        "div", { class: "stack tight" },
        h("label", { class: "label cut", for: id }, row.name),
        h("div", { class: "capfield" }, h("span", { class: "mono" }), field),
        h("div", { class: "capnote small" }),
      ),
    );
    this.items.set(row.id, item);
    this.update(row);
    return item;
  }

  update(row) {
    const item = this.items.get(row.id);
    if (!item) return;
    const field = item.querySelector("textarea");
    if (!this.typed.has(row.id) && field.value !== row.text) field.value = row.text;
    this.note(item, field.value);
  }

  type(id, field) {
    this.typed.set(id, field.value);
    this.note(field.closest("li"), field.value);
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.flush(), WAIT);
  }

  note(item, text) {
    const word = this.word();
    const hasWord = !word || new RegExp(`(^|[^\\p{L}\\p{N}])${escape(word)}($|[^\\p{L}\\p{N}])`, "iu").test(text);
    item.querySelector(".capfield .mono").textContent = text && !hasWord ? `${word},` : "";
    item.querySelector("textarea").placeholder = word ? `a photo of ${word}` : "";
    const notes = [];
    if (!text) notes.push(badge(_("no caption"), "plain"), h("span", {}, word ? _("Trained as “a photo of {word}”.", { word }) : ""));
    for (const kind of warnings(text)) {
      if (kind === "language") notes.push(badge(_("not English"), "warn"), h("span", {}, _("The text encoder reads English only.")));
      else notes.push(badge(_("wide commas"), "warn"), h("button", { type: "button", class: "button small ghost", onclick: () => this.fix(item) }, _("Use plain commas")));
    }
    item.querySelector(".capnote").replaceChildren(...notes);
    item.querySelector(".capnote").hidden = !notes.length;
  }

  fix(item) {
    const field = item.querySelector("textarea");
    field.value = field.value.replace(WIDE_COMMA, ", ").replace(/ +/g, " ").trim();
    this.type(item.dataset.id, field);
    field.focus();
  }
}

function warnings(text) {
  return [CHINESE.test(text) && "language", !CHINESE.test(text) && text.search(WIDE_COMMA) >= 0 && "commas"].filter(Boolean);
}

const splitTags = (text) => text.split(/[,，、]/).map((tag) => tag.trim()).filter(Boolean);
const escape = (text) => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
