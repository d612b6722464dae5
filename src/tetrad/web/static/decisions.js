// What a person may want to decide about: images that are nearly the same, and files that are not used.
import { press } from "./api.js";
import { get, h } from "./dom.js";
import { address, draft } from "./draft.js";
import { _, ngettext } from "./text.js";

const MAX_GROUPS = 8;
const MAX_NAMES = 5;
const keyOf = (group) => `tetrad-keep-${draft.id}-${group.join("-")}`;

export function showDecisions({ rows, about, leaveOut }) {
  const used = (id) => rows.has(id) && !["left", "unused"].includes(rows.get(id).verdict);
  const groups = about.similar.map((group) => group.filter(used)).filter((group) => group.length > 1 && !localStorage.getItem(keyOf(group)));
  const cards = groups.slice(0, MAX_GROUPS).map((group) => makeGroup(group.map((id) => rows.get(id)), leaveOut));
  const unused = [...rows.values()].filter((row) => row.verdict === "unused").map((row) => ({ name: row.name, ...row.reasons[0] }));
  const { refused } = about;
  if (unused.length) cards.push(makeTable(ngettext("{count} image is not used", "{count} images are not used", unused.length), unused));
  if (refused.length) cards.push(makeTable(ngettext("{count} file was not added", "{count} files were not added", refused.length), refused));
  const advice = (about.advice ?? []).map(({ code, text }) => h("div", { class: "note warn" }, h("div", {}, h("p", { class: "wrap-any" }, text, " ", h("span", { class: "quiet mono" }, code)))));
  if (advice.length) cards.push(h("div", { class: "stack tight" }, ...advice));
  get("decisions").hidden = !cards.length;
  get("cards").replaceChildren(...cards);
}

function makeGroup(group, leaveOut) {
  const largest = group.reduce((best, row) => (row.width * row.height > best.width * best.height ? row : best));
  const others = group.filter((row) => row !== largest).map((row) => row.id);
  const figure = (row) => h(
    "figure", {},
    h("img", { src: address(`/images/${row.id}/thumbnail?v=${row.version}`), alt: "", loading: "lazy", width: 256, height: 256 }),
    h("figcaption", { class: "small" }, h("span", { class: "cut" }, row.name), h("span", { class: "quiet" }, `${row.width} × ${row.height}`)),
  );
  const isLarger = group.some((row) => row.width * row.height < largest.width * largest.height);
  return h(
    "div", { class: "card pad-s dupcard" },
    h("div", { class: "dupes" }, ...[largest, ...group.filter((row) => row !== largest)].slice(0, 4).map(figure)),
    h(
      "div", { class: "stack tight" },
      h("h3", {}, ngettext("{count} image is like another", "{count} images are nearly the same", group.length)),
      h("p", { class: "help" }, _("Together they would count more than the others.")),
      h(
        "div", { class: "row" },
        h("button", { type: "button", class: "button small", onclick: (event) => press(event.currentTarget, () => leaveOut(others)) }, isLarger ? _("Keep the larger one") : _("Keep one")),
        h("button", { type: "button", class: "button small ghost", onclick: (event) => keepAll(group, event.currentTarget) }, _("Keep all")),
      ),
    ),
  );
}

function keepAll(group, button) {
  localStorage.setItem(keyOf(group.map((row) => row.id)), "1");
  button.closest(".card").remove();
  get("decisions").hidden = !get("cards").children.length;
}

// A row for each reason, with the files that it is for.
function makeTable(title, files) {
  const reasons = new Map();
  for (const file of files) reasons.set(file.text, [...(reasons.get(file.text) ?? []), file]);
  return h(
    "div", { class: "card pad-s stack" },
    h("h3", {}, title),
    h("table", { class: "table cards left" }, h("tbody", {}, ...[...reasons].map(([text, group]) => h(
      "tr", { class: "plain" },
      h("td", {}, h("b", { class: "mono wrap-any" }, listNames(group)), h("br"), h("span", {}, text), " ", h("span", { class: "quiet mono" }, group[0].code)),
    )))),
  );
}

function listNames(group) {
  const names = group.slice(0, MAX_NAMES).map((each) => each.name).join(", ");
  const count = group.length - MAX_NAMES;
  return count > 0 ? ngettext("{names} and {count} more", "{names} and {count} more", count, { names }) : names;
}
