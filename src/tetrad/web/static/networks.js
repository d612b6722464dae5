// What the prompt names: a chip for each network, found or not, and a row with its strength. The prompt is what counts;
// a row only edits it.
import { ask } from "./api.js";
import { badge, get, h } from "./dom.js";
import { TAGS, changeTag, changeWord, hasWord, listTags, wordWeight } from "./prompt.js";
import { _ } from "./text.js";

const WAIT = 400; // ms after the last key
const KINDS = () => ({ lora: _("LoRA"), hypernetwork: _("Hypernetwork"), embedding: _("Embedding") });

export class Networks {
  constructor(prompt, negative, onChange) {
    this.prompt = prompt;
    this.negative = negative;
    this.onChange = onChange;
    this.choices = [];
    this.found = []; // what the server says about the prompt
    for (const box of [prompt, negative]) box.addEventListener("input", () => this.later());
    get("add-network").addEventListener("click", () => this.choose());
  }

  setChoices(choices) {
    this.choices = choices;
    this.showRows();
  }

  setPrompt(text) {
    this.prompt.value = text;
    this.prompt.dispatchEvent(new Event("input", { bubbles: true }));
  }

  later() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.check(), WAIT);
    this.showRows();
    this.onChange();
  }

  async check() {
    const asked = { prompt: this.prompt.value, negative_prompt: this.negative.value };
    let problem = null;
    const found = await ask("POST", "/api/generate/check", asked).catch((error) => { problem = error; return []; });
    if (asked.prompt !== this.prompt.value) return;
    this.found = found;
    this.showChips(problem);
    this.showRows();
    this.onChange();
  }

  // The tags as they stand in the prompt now, and the embeddings that the server found in it.
  list() {
    const known = (type, name) => this.found.find((each) => each.type === type && each.name === name);
    const tags = listTags(this.prompt.value).map((tag) => ({ ...known(tag.type, tag.name), ...tag }));
    const embeddings = this.found.filter((each) => each.type === "embedding" && hasWord(`${this.prompt.value}\n${this.negative.value}`, each.name));
    return [...tags, ...embeddings.map((each) => ({ ...each, strength: hasWord(this.prompt.value, each.name) ? wordWeight(this.prompt.value, each.name) : null }))];
  }

  showChips(problem) {
    const chips = this.found.map((each) => {
      if (!each.is_found) return h("span", { class: "chip missing" }, each.name, " ", badge(_("not found"), "bad"));
      const kind = KINDS()[each.type];
      const hasItsWord = !each.word || hasWord(this.prompt.value, each.word) || each.type === "embedding";
      const word = each.type !== "embedding" && each.word ? (hasItsWord ? _("trigger word is in the prompt") : _("without its trigger word")) : "";
      return h("span", { class: "chip on" }, each.name, h("span", { class: "n" }, [kind, word].filter(Boolean).join(" · ")));
    });
    const missing = this.found.filter((each) => !each.is_found).map((each) => h("div", { class: "help" }, h("p", {}, h("b", {}, each.name), " ", _("is not in your folders, so nothing can be generated with it.")),
      h("div", { class: "row" }, ...each.nearest.map((name) => h("button", { type: "button", class: "button small ghost", onclick: () => this.setPrompt(changeTag(this.prompt.value, each, { to: name })) }, _("Use {name}", { name }))),
        h("button", { type: "button", class: "button small ghost", onclick: () => this.setPrompt(changeTag(this.prompt.value, each, { remove: true })) }, _("Remove it from the prompt")))));
    const words = this.found.filter((each) => each.is_found && each.type !== "embedding" && each.word && !hasWord(this.prompt.value, each.word)).map((each) => h("div", { class: "row" },
      h("button", { type: "button", class: "button small ghost", onclick: () => this.setPrompt(`${each.word}, ${this.prompt.value}`) }, _("Add the trigger word “{word}”", { word: each.word }))));
    const wrong = problem && h("p", { class: "help bad-text", role: "alert" }, problem.message, " ", problem.answer?.code && h("code", {}, problem.answer.code));
    get("found").replaceChildren(...(chips.length ? [h("div", { class: "row" }, ...chips)] : []), ...missing, ...words, ...(wrong ? [wrong] : []));
  }

  showRows() {
    if (get("networks").contains(document.activeElement) && document.activeElement.type === "range") return; // it is being dragged
    get("networks").replaceChildren(...this.list().filter((each) => each.is_found !== false).map((each) => this.row(each)));
  }

  row(network) {
    const { type, name, strength } = network;
    const isWord = type === "embedding";
    const change = (by) => this.setPrompt(isWord ? changeWord(this.prompt.value, name, by) : changeTag(this.prompt.value, { type, name }, by));
    const preview = this.choices.find((each) => each.type === type && each.name === name)?.preview;
    const value = h("output", { class: "num" }, strength === null ? "–" : strength.toFixed(2));
    const slider = strength !== null && h("input", {
      type: "range", min: Math.min(0, strength), max: Math.max(1.5, strength), step: 0.05, value: strength, "aria-label": _("Strength of {name}", { name }),
      oninput: (event) => { value.textContent = Number(event.target.value).toFixed(2); change({ strength: Number(event.target.value) }); },
    });
    return h("div", { class: "net" },
      preview ? h("img", { class: "thumb", src: preview, width: 48, height: 48, alt: "" }) : h("span", { class: "thumb blank", "aria-hidden": "true" }),
      h("div", {}, h("b", {}, name), " ", h("span", { class: "quiet small" }, KINDS()[type]), slider || h("p", { class: "help" }, isWord ? _("in the negative prompt") : _("strengths as written in the prompt"))),
      value,
      h("button", { type: "button", class: "button icon small ghost", "aria-label": _("Remove {name}", { name }), onclick: () => change({ remove: true }) }, "✕"));
  }

  // The list of all networks, with a search.
  choose() {
    const results = h("ul", { class: "choose-list" });
    const show = (text) => {
      const fitting = this.choices.filter((each) => each.name.toLowerCase().includes(text.toLowerCase()));
      results.replaceChildren(...fitting.slice(0, 200).map((each) => h("li", {}, h("button", { type: "button", class: "choose", onclick: () => { dialog.close(); this.add(each); } },
        each.preview ? h("img", { class: "thumb", src: each.preview, width: 48, height: 48, alt: "", loading: "lazy" }) : h("span", { class: "thumb blank", "aria-hidden": "true" }),
        h("span", {}, h("b", {}, each.name), h("br"), h("span", { class: "quiet small" }, [KINDS()[each.type], each.word && _("trigger word {word}", { word: each.word })].filter(Boolean).join(" · ")))))));
      if (!fitting.length) results.replaceChildren(h("li", { class: "quiet" }, this.choices.length ? _("No name has this in it.") : _("There is none yet in your folders. Train one, or start the page with --models-dir.")));
    };
    const dialog = h("dialog", { class: "dialog", "aria-labelledby": "choose-title" },
      h("h2", { id: "choose-title" }, _("Add to the prompt")),
      h("input", { type: "search", "aria-label": _("Find a network"), placeholder: _("Find a network"), oninput: (event) => show(event.target.value) }),
      results, h("footer", {}, h("button", { type: "button", class: "button", onclick: () => dialog.close() }, _("Close"))));
    dialog.addEventListener("close", () => dialog.remove());
    document.body.append(dialog);
    show("");
    dialog.showModal();
  }

  add({ type, name, word, tag }) {
    const text = this.prompt.value.trim();
    const needsWord = word && !hasWord(text, word);
    const parts = [text, needsWord && type !== "embedding" ? word : "", type === "embedding" ? name : ""].filter(Boolean).join(", ");
    this.setPrompt(type === "embedding" ? parts : `${parts} ${tag}`.trim());
    this.prompt.focus();
  }
}
