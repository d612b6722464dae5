// The list of runs: it is fetched again when it changes, and only rows that differ are replaced, so that focus stays.
import { ask, press } from "./api.js";
import { confirmLoss } from "./dialog.js";
import { announce, get } from "./dom.js";
import { _ } from "./text.js";
import { toast } from "./toast.js";

const list = get("runs");
const find = get("find-run");
let rows = 20;
let asked = 0;

export async function refresh() {
  const turn = ++asked;
  const query = new URLSearchParams({ rows, search: find?.value.trim() ?? "" });
  const html = await ask("GET", `/parts/runs?${query}`).catch(() => null);
  if (html === null || turn !== asked) return; // a late answer must not replace a newer one
  const fresh = new DOMParser().parseFromString(html, "text/html").body;
  const oldBody = list.querySelector("tbody");
  const newBody = fresh.querySelector("tbody");
  if (!oldBody || !newBody || Boolean(list.querySelector(".more")) !== Boolean(fresh.querySelector(".more"))) {
    list.replaceChildren(...fresh.childNodes);
    return;
  }
  const old = new Map([...oldBody.children].map((row) => [row.dataset.key, row]));
  oldBody.replaceChildren(...[...newBody.children].map((row) => {
    const before = old.get(row.dataset.key);
    return before && before.outerHTML === row.outerHTML ? before : keepFocus(before, row);
  }));
}

// A row that changes while one of its buttons has the focus gives it to the same button of the new row.
function keepFocus(before, row) {
  if (before?.contains(document.activeElement)) {
    const index = [...before.querySelectorAll("a, button")].indexOf(document.activeElement);
    requestAnimationFrame(() => row.querySelectorAll("a, button")[index]?.focus());
  }
  return row;
}

list.addEventListener("click", async (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  const { delete: name, resume, removeJob, more } = button.dataset;
  if (name !== undefined) await press(button, () => deleteRun(name));
  if (resume !== undefined) await press(button, async () => { location.href = (await ask("POST", `/api/runs/${encodeURIComponent(resume)}/resume`)).address; });
  if (removeJob !== undefined) await press(button, async () => { await ask("DELETE", `/api/jobs/${removeJob}`); await refresh(); });
  if (more !== undefined) { rows = Number(more); await refresh(); }
});

async function deleteRun(name) {
  const address = `/api/runs/${encodeURIComponent(name)}`;
  const { sentence, size } = await ask("GET", `${address}/contents`);
  const title = _("Delete the run “{name}”?", { name });
  if (!(await confirmLoss({ title, text: sentence, keep: _("Keep it"), lose: _("Delete {size}", { size }) }))) return;
  await ask("DELETE", address);
  toast(_("{name} is deleted.", { name }));
  await refresh();
}

async function filter() {
  await refresh();
  announce(list.querySelectorAll("tbody tr").length ? _("The list is filtered.") : list.textContent.trim());
}

let timer;
find?.addEventListener("input", () => {
  clearTimeout(timer);
  timer = setTimeout(filter, 200);
});
if (find?.value) filter(); // the browser fills it again after Back
