// One stream of live data for the tab. A page says what it watches and what is to be done with each kind of event.
// The browser connects again by itself and names the last event it got, so nothing is lost.
import { get } from "./dom.js";
import { _ } from "./text.js";

const WAITS = [1, 2, 4, 8, 15];
let source = null;
let failures = 0;
let mark = "";

export function connect({ runs = [], at = "", list = false, queue = false, handlers = {} } = {}) {
  mark ||= at;
  const query = new URLSearchParams(runs.map((run) => ["run", run]));
  if (mark) query.set("at", mark);
  if (list) query.set("list_of_runs", "true");
  if (queue) query.set("queue", "true");
  source?.close();
  source = new EventSource(`/api/live?${query}`);
  const all = { device: showDevice, ...handlers };
  for (const [name, handle] of Object.entries(all)) {
    source.addEventListener(name, (event) => {
      if (event.lastEventId) mark = event.lastEventId;
      handle(JSON.parse(event.data));
    });
  }
  source.addEventListener("open", () => { failures = 0; setLost(null); });
  source.addEventListener("error", () => {
    source.close();
    const seconds = WAITS[Math.min(failures++, WAITS.length - 1)];
    setLost(seconds);
    setTimeout(() => connect({ runs, list, queue, handlers }), seconds * 1000);
  });
}

// The bar under the header; buttons that write are disabled for as long as it is there. Those that were disabled for a
// reason of their own stay so.
function setLost(seconds) {
  const bar = get("connection");
  document.documentElement.toggleAttribute("data-lost", seconds !== null);
  bar.hidden = seconds === null;
  if (seconds !== null) bar.textContent = _("Connection lost; training goes on. Trying again in {seconds} s.", { seconds });
  if (seconds === null) {
    for (const button of document.querySelectorAll("[data-held]")) enable(button, true);
    return;
  }
  for (const button of document.querySelectorAll("[data-writes]:enabled")) {
    button.disabled = true;
    button.dataset.held = "";
  }
}

// Let a button that writes be pressed, or not; without a connection it cannot be pressed in any case.
export function enable(button, isEnabled) {
  delete button.dataset.held;
  button.disabled = !isEnabled;
}

function showDevice(device) {
  for (const name of ["free", "disk", "name"]) {
    for (const element of document.querySelectorAll(`[data-device-${name}]`)) element.textContent = device[name];
  }
  document.querySelector("[data-device-used]")?.setAttribute("width", device.used);
}

addEventListener("pagehide", () => source?.close());
// A page that the back button brings back as it was would follow nothing any more.
addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
