// Ask the server: JSON in, JSON out; an error is the server's own sentence.
import { _ } from "./text.js";
import { toast } from "./toast.js";

const KEPT = 30_000; // characters; a browser keeps no larger request when its page is left
const csrf = document.querySelector("meta[name=csrf]")?.content ?? "";

const GONE = () => _("The server does not answer. Is tetrad web still running?");

export class ServerError extends Error {}

export async function ask(method, address, body, signal) {
  const response = await send(method, address, body, signal);
  const isJson = response.headers.get("content-type")?.startsWith("application/json");
  return isJson ? response.json() : response.text();
}

// An answer of many lines, each of them JSON, which come one after the other.
export async function askLines(address, onLine) {
  const reader = (await send("GET", address)).body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read().catch(() => { throw new ServerError(GONE()); });
    const lines = (rest + (value ?? "")).split("\n");
    rest = lines.pop();
    for (const line of lines) if (line) onLine(JSON.parse(line));
    if (done) return;
  }
}

// JSON is sent as such, a file or a picture as its bytes.
async function send(method, address, body, signal) {
  const headers = { accept: "application/json" };
  if (method !== "GET") headers["x-tetrad-csrf"] = csrf;
  if (body instanceof Blob) headers["content-type"] = body instanceof File ? "application/octet-stream" : body.type;
  else if (body !== undefined) {
    headers["content-type"] = "application/json";
    body = JSON.stringify(body);
  }
  let response;
  try {
    const keepalive = method === "PATCH" && body.length < KEPT; // a change is stored although its page is left
    response = await fetch(address, { method, headers, body, signal, keepalive, cache: "no-store" });
  } catch {
    throw new ServerError(GONE());
  }
  if (response.ok) return response;
  const answer = await response.json().catch(() => ({}));
  throw Object.assign(new ServerError(answer.text ?? _("The server could not do this.")), { answer, status: response.status });
}

// An error that the server put into words, where everybody sees it; any other is a bug.
export function showProblem(error) {
  if (!(error instanceof ServerError)) throw error;
  toast(error.message, { tone: "bad" });
}

// A button that asks the server: it cannot be pressed twice, and an error is shown where everybody sees it.
export async function press(button, work) {
  if (button.getAttribute("aria-disabled") === "true") return undefined;
  button.setAttribute("aria-disabled", "true");
  try {
    return await work();
  } catch (error) {
    showProblem(error);
    return undefined;
  } finally {
    button.removeAttribute("aria-disabled");
  }
}
