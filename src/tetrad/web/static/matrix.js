// The previews: a row for each prompt, a column for each step, the newest on the right; Enter or a click enlarges one.
import { get, h } from "./dom.js";
import { _, ngettext, number } from "./text.js";

const COLUMNS = 7;
const PHONE_COLUMNS = 3;
const ROWS = 8; // with 7 columns 56 images; more on request
const phone = matchMedia("(max-width: 720px)");

export class Matrix {
  constructor(address) {
    this.address = address;
    this.mode = "spread";
    this.page = 0; // of the mode "all": from the newest backwards
    this.showsAllRows = false;
    this.previews = { rows: [], steps: [], partial: {}, word: "" };
    this.next = null;
    this.focused = [0, 0];
    phone.addEventListener("change", () => this.show());
    get("matrix").addEventListener("keydown", (event) => this.move(event));
  }

  setPreviews(previews) {
    this.previews = previews;
    this.show();
  }

  setNext(next) {
    if (JSON.stringify(next) === JSON.stringify(this.next)) return;
    const needsLayout = next?.step !== this.next?.step;
    this.next = next;
    if (needsLayout) this.show();
    else for (const cell of document.querySelectorAll(".cell.wait")) cell.textContent = next?.when ?? "";
  }

  // The steps to show: the first, the newest and some between, or the newest, or one page of all.
  pickSteps() {
    const { steps } = this.previews;
    const room = (phone.matches ? PHONE_COLUMNS : COLUMNS) - (this.waits() ? 1 : 0);
    if (steps.length <= room) return steps;
    if (this.mode === "newest") return steps.slice(-room);
    if (this.mode === "all") {
      const end = steps.length - this.page * room;
      return steps.slice(Math.max(0, end - room), Math.max(room, end));
    }
    return Array.from({ length: room }, (_unused, index) => steps[Math.round((index * (steps.length - 1)) / (room - 1))]);
  }

  waits() {
    return this.next !== null && this.mode !== "all" && this.next.step > (this.previews.steps.at(-1) ?? -1);
  }

  show() {
    const { rows, steps } = this.previews;
    get("previews").hidden = !rows.length;
    if (!rows.length) return;
    this.showModes();
    const shown = this.pickSteps();
    const waits = this.waits();
    const visible = this.showsAllRows ? rows : rows.slice(0, ROWS);
    const head = [h("span", { class: "head corner", role: "columnheader" }, h("span", { class: "sr" }, _("Prompt")))];
    for (const step of shown) head.push(h("span", { class: `head${step === steps.at(-1) ? " newest" : ""}`, role: "columnheader" }, number(step)));
    if (waits) head.push(h("span", { class: "head", role: "columnheader" }, number(this.next.step)));
    const lines = visible.map((row, index) => h("div", { class: "line", role: "row" },
      h("div", { class: "rowhead", role: "rowheader" }, this.prompt(row), row.badge && h("span", { class: "badge plain" }, row.badge)),
      ...shown.map((step, column) => this.cell(step, index, column)),
      waits && h("span", { class: "cell wait", role: "gridcell" }, this.next.when)));
    const grid = h("div", { class: "matrix", role: "grid", "aria-label": _("Previews: prompts down, steps across") }, h("div", { class: "line", role: "row" }, ...head), ...lines);
    grid.style.setProperty("--n", shown.length + (waits ? 1 : 0));
    get("matrix").replaceChildren(grid);
    const hidden = rows.length - visible.length;
    get("matrix-more").replaceChildren(...(hidden > 0 ? [h("button", { type: "button", class: "button small ghost", onclick: () => { this.showsAllRows = true; this.show(); } }, ngettext("Show {count} more prompt", "Show {count} more prompts", hidden))] : []));
  }

  showModes() {
    const count = this.previews.steps.length;
    const modes = { spread: _("Even spread"), newest: _("Newest"), all: _("All {count}", { count: number(count) }) };
    const room = phone.matches ? PHONE_COLUMNS : COLUMNS;
    const buttons = Object.entries(modes).map(([mode, word]) => h("button", { type: "button", "aria-pressed": String(mode === this.mode), onclick: () => { this.mode = mode; this.page = 0; this.show(); } }, word));
    if (this.mode === "all") {
      const last = Math.ceil(count / room) - 1;
      const turn = (by) => { this.page = Math.max(0, Math.min(last, this.page + by)); this.show(); };
      buttons.push(h("button", { type: "button", "aria-label": _("Earlier steps"), disabled: this.page >= last, onclick: () => turn(1) }, "←"));
      buttons.push(h("button", { type: "button", "aria-label": _("Later steps"), disabled: this.page <= 0, onclick: () => turn(-1) }, "→"));
    }
    get("columns").replaceChildren(...(count > room - 1 ? buttons : []));
  }

  // A prompt with its trigger word in bold.
  prompt(row) {
    const parts = this.previews.word ? row.prompt.split(this.previews.word) : [row.prompt];
    const children = parts.flatMap((part, index) => (index ? [h("b", {}, this.previews.word), part] : [part]));
    return h("span", { class: "mono" }, ...children);
  }

  cell(step, row, column) {
    const missing = this.previews.partial[step];
    if (missing && !missing.includes(row)) return h("span", { class: "cell wait", role: "gridcell" }, "–");
    const label = _("Step {step}, prompt {number}", { step: number(step), number: row + 1 });
    const isFirst = row === this.focused[0] && column === this.focused[1];
    return h("button", { type: "button", class: "cell", role: "gridcell", "aria-label": label, tabindex: isFirst ? 0 : -1, "data-row": row, "data-column": column, onclick: () => this.enlarge(step, row) },
      h("img", { src: `${this.address}/previews/${step}/${row}/thumbnail`, width: 160, height: 160, alt: "", loading: "lazy" }));
  }

  // Arrow keys move between the cells; Tab leaves the matrix.
  move(event) {
    const by = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    const cell = event.target.closest("[data-row]");
    if (!by || !cell) return;
    const [row, column] = [Number(cell.dataset.row) + by[0], Number(cell.dataset.column) + by[1]];
    const next = get("matrix").querySelector(`[data-row="${row}"][data-column="${column}"]`);
    event.preventDefault();
    if (!next) return;
    cell.tabIndex = -1;
    next.tabIndex = 0;
    this.focused = [row, column];
    next.focus();
  }

  // The image in full, with the arrow keys for the steps before and after it.
  enlarge(step, row) {
    const viewer = get("viewer");
    const { steps, rows } = this.previews;
    const show = (at) => {
      const image = h("img", { src: `${this.address}/previews/${at}/${row}`, alt: rows[row].prompt });
      const turn = (by, word, sign) => {
        const to = steps[steps.indexOf(at) + by];
        return h("button", { type: "button", class: "button icon", "aria-label": word, disabled: to === undefined, onclick: () => show(to) }, sign);
      };
      viewer.replaceChildren(
        h("div", { class: "row between" }, h("h2", { id: "viewer-title" }, _("Step {step}", { step: number(at) })),
          h("div", { class: "row" }, turn(-1, _("Earlier step"), "←"), turn(1, _("Later step"), "→"),
            h("button", { type: "button", class: "button icon", "aria-label": _("Close"), autofocus: true, onclick: () => viewer.close() }, "✕"))),
        image, h("p", { class: "small" }, this.prompt(rows[row])));
      viewer.onkeydown = (event) => {
        const to = { ArrowLeft: steps[steps.indexOf(at) - 1], ArrowRight: steps[steps.indexOf(at) + 1] }[event.key];
        if (to !== undefined) show(to);
      };
    };
    show(step);
    if (!viewer.open) viewer.showModal();
  }
}
