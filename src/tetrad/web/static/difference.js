// What differs between two files, by block.
import { ask, ServerError } from "./api.js";
import { get, h } from "./dom.js";
import { connect } from "./live.js";
import { _, number } from "./text.js";
import { about, begin, loadRows, problemNote, showNothing, thumb } from "./work_rows.js";

const percent = (share) => (share === null ? "∞" : `${(100 * share).toFixed(3)} %`);

function table({ blocks, compares_changes: comparesChanges }) {
  const heads = [_("Block"), comparesChanges ? _("Layers") : _("Tensors"), _("Different"), "‖A − B‖ / ‖A‖"];
  return h("table", { class: "table difference" }, h("thead", {}, h("tr", {}, ...heads.map((word, place) => h("th", { class: place ? "num" : "" }, word)))),
    h("tbody", {}, ...blocks.map((each) => h("tr", {}, h("td", {}, each.block), h("td", { class: "num" }, number(each.compared)), h("td", { class: "num" }, number(each.different)), h("td", { class: "num" }, percent(each.relative))))));
}

async function load() {
  const { chosen } = await loadRows();
  if (chosen.length < 2) return showNothing();
  const [a, b] = chosen;
  const row = (letter, file) => h("li", { class: "parent" }, h("span", { class: "letter" }, letter), thumb(file), h("div", { class: "grow" }, h("span", { class: "name" }, file.name), h("br"), h("span", { class: "small quiet" }, about(file))));
  const body = h("section", { class: "card stack", "aria-label": _("Differences"), "aria-live": "polite" }, h("p", { class: "quiet" }, _("Reading both files …")));
  get("work").replaceChildren(h("div", { class: "stack loose" }, h("section", { class: "card stack", "aria-label": _("Files") }, h("ul", { class: "parents" }, row("A", a), row("B", b))), body));
  try {
    const found = await ask("GET", `/api/library/files/${a.id}/difference?${new URLSearchParams({ other: b.id })}`);
    body.replaceChildren(...(found.same ? [h("div", { class: "note ok" }, h("div", {}, h("b", {}, found.same)))] : [table(found)]),
      ...(found.rest.length ? [h("h3", {}, _("Also different")), h("ul", { class: "stack tight small" }, ...found.rest.map((text) => h("li", { class: "grow" }, text)))] : []));
  } catch (error) {
    if (!(error instanceof ServerError)) throw error;
    body.replaceChildren(problemNote(error));
  }
  return undefined;
}

connect();
begin(load);
