// The files that a page works on: the rows of the library, found by the ids in the page's address.
import { ask, ServerError } from "./api.js";
import { get, h, unbroken } from "./dom.js";
import { _ } from "./text.js";

export const BUILTIN = "builtin";

// {all, chosen}: every file of the library, and those of the address in its order; what is gone is left out.
export async function loadRows() {
  const ids = new URLSearchParams(location.search).getAll("file");
  let all = await ask("GET", "/api/library/files?remembered=true");
  if (!ids.every((id) => all.some((each) => each.id === id && each.is_read))) all = await ask("GET", "/api/library/files");
  return { all, chosen: ids.map((id) => all.find((each) => each.id === id)).filter(Boolean) };
}

export const thumb = (file, size = 48) => (file.preview ? h("img", { class: "thumb", src: file.preview, width: size, height: size, alt: "", loading: "lazy" }) : h("span", { class: "thumb blank", "aria-hidden": "true" }));

export const about = (file) => [file.kind_word, file.family, unbroken(file.size)].filter(Boolean).join(" · ");

export function problemNote(error) {
  const code = error.answer?.code;
  return h("div", { class: "note bad", role: "alert" }, h("div", {}, h("p", {}, error.message, " ", code && h("code", {}, code))));
}

// Begin a page; where its files cannot be read, it says why.
export const begin = (work) => work().catch((error) => {
  if (!(error instanceof ServerError)) throw error;
  get("work").replaceChildren(problemNote(error));
});

export function showNothing() {
  get("work").replaceChildren(h("div", { class: "card empty-state" }, h("p", {}, h("b", {}, _("No files are chosen"))), h("p", { class: "quiet" }, _("Tick files in the library, then choose what to do with them.")), h("p", {}, h("a", { class: "button primary", href: "/library" }, _("Open the library")))));
}
