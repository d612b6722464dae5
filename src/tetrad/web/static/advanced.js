// Every setting, found by its name here or kohya's; made when it is opened for the first time.
import { ask, press, ServerError } from "./api.js";
import { announce, breakable, get, h } from "./dom.js";
import { address, draft, storeNow } from "./draft.js";
import { _, ngettext } from "./text.js";

const WAIT = 400;

export class Advanced {
  constructor({ onChange }) {
    this.onChange = onChange;
    this.settings = [];
    get("advanced").addEventListener("toggle", () => {
      if (!get("advanced").open) return;
      this.show();
      get("advanced").scrollIntoView();
    });
    get("find-setting").addEventListener("input", () => this.filter());
    get("reset-all").addEventListener("click", (event) => press(event.currentTarget, async () => {
      await storeNow({ settings: Object.fromEntries(Object.keys(draft.settings).map((key) => [key, null])) });
      await this.load();
      this.onChange();
    }));
  }

  async load() {
    this.settings = await ask("GET", address("/settings"));
    this.count();
    if (get("advanced").open) this.show();
  }

  count() {
    const changed = Object.keys(draft.settings).length;
    const total = ngettext("{count} setting", "{count} settings", this.settings.length);
    const marked = _("{count} changed", { count: changed });
    get("advanced-count").textContent = changed ? `${total}, ${marked}` : total;
    get("reset-all").hidden = !changed;
  }

  show() {
    const groups = new Map();
    for (const setting of this.settings) groups.set(setting.group, [...(groups.get(setting.group) ?? []), setting]);
    const focused = document.activeElement?.dataset?.key;
    get("settings").replaceChildren(...[...groups].map(([group, settings]) => h("section", { "aria-label": group }, h("h3", { class: "group" }, group), h("ul", { class: "settings" }, ...settings.map((each) => this.make(each))))));
    this.filter();
    if (focused) get("settings").querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
  }

  make(setting) {
    const id = `setting-${setting.key}`;
    const isChanged = setting.key in draft.settings;
    const attributes = { id, "data-key": setting.key, "aria-describedby": `${id}-help` };
    const control = setting.choices.length ? this.makeSelect(setting, attributes) : h("input", {
      ...attributes, type: "text", inputmode: setting.is_number ? "decimal" : "text", value: setting.value, placeholder: setting.default || _("not given"), spellcheck: "false", autocomplete: "off",
      oninput: (event) => { const field = event.target; clearTimeout(this.timer); this.timer = setTimeout(() => this.set(setting, field), WAIT); },
    });
    return h(
      "li", { class: "setting", "data-words": `${setting.key} ${setting.kohya} ${setting.help}`.toLowerCase() },
      h("div", {}, h("label", { for: id }, h("b", { class: "wrap-any" }, ...breakable(setting.key))), h("span", { class: "kohya mono small quiet wrap-any" }, ...breakable(setting.kohya))),
      control,
      h("span", { class: "small quiet" }, setting.range),
      h("div", {}, h("p", { class: "help", id: `${id}-help` }, `${setting.help}.`), h("p", { class: "help bad-text", role: "alert" })),
      h("span", { class: "changed" }, isChanged && h("button", { type: "button", class: "button small ghost", "aria-label": _("Undo the change of {setting}", { setting: setting.key }), onclick: (event) => press(event.currentTarget, () => this.store(setting, null)) }, _("Undo"))),
    );
  }

  makeSelect(setting, attributes) {
    const option = (value, text) => h("option", { value, selected: value === setting.value }, text);
    const words = { true: _("on"), false: _("off") };
    const standard = words[setting.default] ?? (setting.default || _("not given"));
    return h("select", { ...attributes, onchange: (event) => this.set(setting, event.target) }, option("", _("default: {value}", { value: standard })), ...setting.choices.map((value) => option(value, words[value] ?? value)));
  }

  async set(setting, field) {
    const error = field.closest(".setting").querySelector(".bad-text");
    try {
      await this.store(setting, field.value.trim() || null);
      error.textContent = "";
    } catch (problem) {
      if (!(problem instanceof ServerError)) throw problem;
      error.textContent = problem.message; // the value stays, so that it can be corrected
    }
  }

  async store(setting, value) {
    await storeNow({ settings: { [setting.key]: value } });
    setting.value = value ?? "";
    this.count();
    const item = get(`setting-${setting.key}`).closest(".setting");
    const isSame = (value !== null) === Boolean(item.querySelector(".changed button"));
    if (!isSame) {
      const field = item.querySelector("[data-key]");
      const fresh = this.make(setting);
      const hadFocus = field === document.activeElement || value === null;
      item.replaceWith(fresh);
      const next = fresh.querySelector("[data-key]");
      if (hadFocus) next.focus();
      if (next.setSelectionRange && next.type === "text") next.setSelectionRange(next.value.length, next.value.length);
    }
    this.onChange();
  }

  filter() {
    const words = get("find-setting").value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const item of get("settings").querySelectorAll(".setting")) {
      item.hidden = !words.every((word) => item.dataset.words.includes(word));
      count += !item.hidden;
    }
    for (const group of get("settings").querySelectorAll("section")) group.hidden = !group.querySelector(".setting:not([hidden])");
    get("found").textContent = words.length ? _("{count} of {total}", { count, total: this.settings.length }) : "";
    if (words.length && !count && this.settings.length) announce(_("No setting is called like that."));
  }
}
