// Fields of the pages that work on files. Each calls `onChange(value)`, and has an id that stays, so that focus can return.
import { h } from "./dom.js";

export const field = (id, label, control, help = "") => {
  control.id = id;
  if (help) control.setAttribute("aria-describedby", `${id}-help`);
  return h("div", { class: "field" }, h("label", { for: id }, label), control, help ? h("p", { class: "help", id: `${id}-help` }, help) : null);
};

export const selectField = (id, label, options, value, onChange, help) => field(id, label,
  h("select", { onchange: (event) => onChange(event.target.value) }, ...options.map(([key, word]) => h("option", { value: key, selected: key === value }, word))), help);

// Nothing in it is null.
export const numberField = (id, label, value, { min, max, step = "any", placeholder = "" }, onChange, help) => field(id, label,
  h("input", { type: "number", min, max, step, placeholder, value: value ?? "", oninput: (event) => onChange(event.target.value === "" ? null : event.target.valueAsNumber) }), help);

export const textField = (id, label, value, onChange, { placeholder = "", help = "" } = {}) => field(id, label,
  h("input", { type: "text", value, placeholder, spellcheck: "false", autocomplete: "off", oninput: (event) => onChange(event.target.value.trim()) }), help);

export const checkField = (id, label, value, onChange) => h("label", { class: "check small", for: id }, h("input", { type: "checkbox", id, checked: value, onchange: (event) => onChange(event.target.checked) }), label);

export const radioCards = (name, legend, options, value, onChange) => h("fieldset", { class: "work-cards" }, h("legend", { class: "sr" }, legend),
  ...options.map(({ key, title, help }) => h("label", { class: "card choice" },
    h("input", { type: "radio", id: `${name}-${key}`, name, value: key, checked: key === value, onchange: () => onChange(key) }), h("b", {}, title), help && h("span", { class: "help" }, help))));

// A slider with a field beside it, for values that the slider does not reach.
export function weightControl(id, label, value, { min, max, step = 0.05, help = "" }, onChange) {
  const range = h("input", { type: "range", id: `${id}-range`, min, max, step, value, "aria-label": label, oninput: () => take(range, box) });
  const box = h("input", { type: "number", id, step: "any", value, "aria-label": label, oninput: () => take(box, range) });
  const take = (from, to) => {
    if (Number.isNaN(from.valueAsNumber)) return;
    to.value = from.value;
    onChange(from.valueAsNumber);
  };
  return h("div", { class: "weight" }, range, box, help && h("span", { class: "help" }, help));
}

export const card = (id, title, ...children) => h("section", { class: "card stack", "aria-labelledby": id }, h("h2", { id }, title), ...children);
