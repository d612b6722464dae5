// What a verification found: the file itself, and the programs that may read it. The type is left out where it stands above.
import { badge, h } from "./dom.js";
import { _ } from "./text.js";

export function describeVerification({ what, family, findings, verdicts }, showsType = true) {
  const title = family && !what.includes(family) ? _("{what} · family: {family}", { what, family }) : what;
  return [...(showsType ? [h("p", {}, h("b", {}, title))] : []),
    h("ul", { class: "findings" }, ...findings.map(({ label, tone, text }) => h("li", {}, badge(label, tone), h("span", {}, text)))),
    verdicts.length
      ? h("div", {}, h("h3", {}, _("Programs that load it")), h("ul", {}, ...verdicts.map(({ readers, word, tone, text }) => h("li", { class: "verdict" }, h("b", {}, readers), badge(word, tone), h("span", {}, text)))))
      : h("p", { class: "help" }, _("No rules are known by which other programs load such files."))];
}
