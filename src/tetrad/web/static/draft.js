// The draft of the page: its values are stored 400 ms after the last change, and when another step is opened.
import { ask, showProblem } from "./api.js";
import { get } from "./dom.js";
import { _ } from "./text.js";
import { toast } from "./toast.js";

const WAIT = 400;
const PATIENCE = 2000; // for an answer, before another step is opened without it; the request goes on
const data = JSON.parse(get("data").textContent);
export let draft = data.draft;
let pending = {};
let timer;
let working = Promise.resolve();
let atWork = 0; // requests that are not answered yet

export const address = (rest = "") => `/api/drafts/${draft.id}${rest}`;

let creating = null;

// A draft exists from the first answer, image or folder on; its address replaces that of the empty page.
export function ensureDraft() {
  creating ??= draft ? Promise.resolve(draft) : ask("POST", "/api/drafts").then((made) => {
    adopt(made);
    history.replaceState(null, "", `/new/${made.id}/photos`);
    return made;
  });
  return creating;
}

export function adopt(next) {
  draft = next;
  for (const link of document.querySelectorAll("a[data-step]")) link.href = `/new/${draft.id}/${link.dataset.step}`;
}

if (draft) adopt(draft);

// Change values of the draft; settings are given by key, null removes one.
export function change(values) {
  const settings = { ...pending.settings, ...values.settings };
  pending = { ...pending, ...values };
  if (Object.keys(settings).length) pending.settings = settings;
  clearTimeout(timer);
  timer = setTimeout(store, WAIT);
}

export async function store() {
  clearTimeout(timer);
  atWork += 1;
  const mine = working.then(async () => {
    const values = pending;
    pending = {};
    if (!Object.keys(values).length) return;
    await ensureDraft();
    const { dropped, ...next } = await ask("PATCH", address(), values);
    adopt(next);
    if (dropped.length) toast(_("{settings}: this method does not have it, so it is dropped.", { settings: dropped.join(", ") }));
  });
  working = mine.catch(() => {}).then(() => { atWork -= 1; }); // one that fails does not stop the next
  return mine.catch(showProblem);
}

// Store at once; the error goes to the caller, who shows it where the value was typed.
export async function storeNow(values) {
  await store();
  await ensureDraft();
  const { dropped, ...next } = await ask("PATCH", address(), values);
  adopt(next);
  return dropped;
}

export const onLeave = []; // what else is to be stored before another step is opened

document.addEventListener("click", async (event) => {
  const link = event.target.closest("a[data-step]");
  if (!link?.href || event.defaultPrevented || event.ctrlKey || event.metaKey || event.shiftKey) return;
  if (!Object.keys(pending).length && !atWork && !onLeave.length) return;
  event.preventDefault();
  await Promise.race([store(), new Promise((resolve) => { setTimeout(resolve, PATIENCE); })]);
  for (const work of onLeave) await work();
  location.href = link.href;
});

addEventListener("visibilitychange", () => { if (document.hidden && Object.keys(pending).length) store(); });
