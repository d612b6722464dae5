// The queue: jobs are moved by dragging or with the arrow keys; the lanes are fetched again when they change.
import { ask, press } from "./api.js";
import { announce, get } from "./dom.js";
import { connect } from "./live.js";
import { _ } from "./text.js";
import { toast } from "./toast.js";

const root = get("queue");
let dragged = null;
let isPressed = false; // a row that is being grasped must not be replaced: the drag would not begin
let isLate = false;

async function refresh() {
  isLate = dragged !== null || isPressed;
  if (isLate) return;
  const html = await ask("GET", "/parts/queue").catch(() => null);
  isLate = dragged !== null || isPressed;
  if (html === null || isLate) return;
  const focused = root.contains(document.activeElement) ? describeFocus(document.activeElement) : "";
  root.replaceChildren(...new DOMParser().parseFromString(html, "text/html").body.childNodes);
  if (focused) root.querySelector(focused)?.focus();
}

const describeFocus = ({ dataset }) => (dataset.grip ? `[data-grip="${dataset.grip}"]` : dataset.do ? `[data-do="${dataset.do}"][data-id="${dataset.id}"]` : "");

root.addEventListener("click", (event) => {
  const button = event.target.closest("[data-do]");
  if (!button) return;
  const { do: action, id } = button.dataset;
  press(button, async () => {
    if (action === "remove") await ask("DELETE", `/api/jobs/${id}`);
    else await ask("POST", `/api/jobs/${id}/${action}`);
    if (action === "stop") toast(_("It will save and stop after this step."));
    await refresh();
  });
});

root.addEventListener("pointerdown", () => { isPressed = true; });
for (const event of ["pointerup", "pointercancel"]) {
  addEventListener(event, () => {
    isPressed = false;
    if (isLate) refresh();
  });
}

async function move(id, before) {
  try {
    await ask("POST", `/api/jobs/${id}/move`, { before });
  } catch (error) {
    toast(error.message, { tone: "bad" });
  }
  await refresh();
}

root.addEventListener("keydown", async (event) => {
  const grip = event.target.closest("[data-grip]");
  if (!grip || !["ArrowUp", "ArrowDown"].includes(event.key)) return;
  event.preventDefault();
  const { job, up, down } = grip.closest("[data-job]").dataset;
  const isUp = event.key === "ArrowUp";
  if (!Number(isUp ? up : down)) return;
  if (isUp) await move(job, Number(up));
  else await move(down, Number(job));
  root.querySelector(`[data-grip="${job}"]`)?.focus();
  announce(isUp ? _("Moved up.") : _("Moved down."));
});

const rowAt = (event) => {
  const row = event.target.closest("[data-job]");
  return row && dragged && row !== dragged && row.parentElement === dragged.parentElement ? row : null;
};

root.addEventListener("dragstart", (event) => {
  dragged = event.target.closest("[data-job]");
  if (!dragged) return;
  event.dataTransfer.effectAllowed = "move";
  event.dataTransfer.setData("text/plain", dragged.dataset.job);
  dragged.classList.add("dragged");
});

root.addEventListener("dragover", (event) => {
  const row = rowAt(event);
  if (!row) return;
  event.preventDefault();
  const isBelow = event.clientY > row.getBoundingClientRect().top + row.offsetHeight / 2;
  row[isBelow ? "after" : "before"](dragged);
});

root.addEventListener("drop", (event) => event.preventDefault());

root.addEventListener("dragend", async () => {
  if (!dragged) return;
  const { job } = dragged.dataset;
  const next = dragged.nextElementSibling?.dataset.job;
  const before = dragged.previousElementSibling?.dataset.job;
  dragged.classList.remove("dragged");
  dragged = null;
  isPressed = false;
  if (next) await move(job, Number(next));
  else if (before) {
    await move(job, Number(before)); // to the end of its lane: behind the last one
    await move(before, Number(job));
  }
});

connect({ queue: true, handlers: { queue: refresh } });
