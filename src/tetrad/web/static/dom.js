// Build elements: `h("p", {class: "small"}, "text", child)`. Text is always text, never markup.
const SVG = "http://www.w3.org/2000/svg";
const SVG_TAGS = new Set(["svg", "rect", "path", "circle"]);

export function h(tag, attributes = {}, ...children) {
  const element = SVG_TAGS.has(tag) ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export const badge = (word, tone, moves = false) => h("span", { class: `badge ${tone}${moves ? " pulse" : ""}` }, word);

export const get = (id) => document.getElementById(id);

// A name as text that breaks after its dots and underscores, and elsewhere only where it must.
export const breakable = (name) => name.split(/(?<=[._])/).flatMap((part) => [part, h("wbr")]);

// Say something to screen readers without moving the focus.
// A text on one line: a number stays beside its unit.
export const unbroken = (text) => text.replaceAll(" ", "\u00a0");

export function announce(text) {
  get("announcer").textContent = text;
}
