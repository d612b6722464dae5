// Dropping files anywhere on a page. A page that takes files calls `acceptDrop` with what is to be done with them.
import { get } from "./dom.js";

let handler = null;
let depth = 0;

export function acceptDrop(handle) {
  if (handler === null) listen();
  handler = handle;
}

const hasFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");

function show(isOver) {
  get("drop-veil").hidden = !isOver;
}

function listen() {
  document.addEventListener("dragenter", (event) => { if (hasFiles(event)) { depth += 1; show(true); } });
  document.addEventListener("dragleave", (event) => { if (hasFiles(event)) { depth = Math.max(0, depth - 1); show(depth > 0); } });
  document.addEventListener("dragover", (event) => { if (hasFiles(event)) event.preventDefault(); });
  document.addEventListener("drop", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    depth = 0;
    show(false);
    handler(event.dataTransfer);
  });
}
