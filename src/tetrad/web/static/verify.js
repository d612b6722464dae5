// Check files: each is read as a whole, one after the other; a base model measures what they change.
import { ask, ServerError } from "./api.js";
import { get, h } from "./dom.js";
import { connect } from "./live.js";
import { _ } from "./text.js";
import { describeVerification } from "./verdicts.js";
import { selectField } from "./work_form.js";
import { about, begin, BUILTIN, loadRows, problemNote, showNothing, thumb } from "./work_rows.js";

let round = 0;

async function check(files, base) {
  const mine = ++round;
  for (const file of files) get(`body-${file.id}`).replaceChildren(h("p", { class: "quiet", role: "status" }, _("Waiting …")));
  for (const file of files) {
    get(`body-${file.id}`).replaceChildren(h("p", { class: "quiet", role: "status" }, _("Reading the whole file …")));
    let content;
    try {
      content = describeVerification(await ask("GET", `/api/library/files/${file.id}/verification?${new URLSearchParams({ base })}`), false);
    } catch (error) {
      if (!(error instanceof ServerError)) throw error;
      content = [problemNote(error)];
    }
    if (mine !== round) return;
    get(`body-${file.id}`).replaceChildren(...content);
  }
}

async function load() {
  const { all, chosen } = await loadRows();
  if (!chosen.length) return showNothing();
  get("lead").textContent = _("Whether each file is whole, safe and without NaN, which programs load it, and whether it changes anything.");
  const checkpoints = all.filter((file) => file.kind === "checkpoint").map((file) => [file.id, file.name]);
  const base = selectField("base", _("Measure the change against"), [["", _("no base model")], [BUILTIN, _("the built-in model")], ...checkpoints], "", (value) => check(chosen, value), _("The checkpoint that the files are for, or were made from."));
  get("work").replaceChildren(h("div", { class: "stack loose" }, h("div", { class: "work-fields" }, base), ...chosen.map((file) => h("section", { class: "card stack", "aria-labelledby": `h-${file.id}` },
    h("div", { class: "row wide" }, thumb(file), h("div", { class: "grow" }, h("h2", { id: `h-${file.id}` }, file.name), h("p", { class: "small quiet" }, about(file)))), h("div", { class: "stack", id: `body-${file.id}` })))));
  return check(chosen, "");
}

connect();
begin(load);
