// The plots of a run: the loss, raw and smoothed, and the learning rate of each part that is trained.
import { get, h } from "./dom.js";
import { _, number } from "./text.js";

const MAX_POINTS = 4000; // after which the server is asked for fewer
const TABLE_ROWS = 20;
const HEIGHT = 220;

export class Plots {
  constructor() {
    this.smoothing = 0.9;
    this.steps = 0;
    this.groups = []; // {first, last, low, high, mean, falls, rates}
    this.loss = null;
    this.rate = null;
    document.addEventListener("themechange", () => this.rebuild());
    new ResizeObserver(() => this.resize()).observe(get("loss-plot"));
  }

  setSteps(steps) {
    if (steps === this.steps) return;
    this.steps = steps;
    this.draw();
  }

  setSmoothing(smoothing) {
    this.smoothing = smoothing;
    this.draw();
  }

  setSeries(series) {
    const parts = Object.keys(series.rates);
    this.groups = series.first.map((first, index) => ({
      first,
      last: series.last[index],
      low: series.low[index],
      high: series.high[index],
      mean: series.mean[index],
      falls: series.falls[index] === "1",
      rates: Object.fromEntries(parts.map((part) => [part, series.rates[part][index]])),
    }));
    this.draw();
  }

  // Take up new steps; true where there are now so many points that the server should be asked for fewer.
  addSteps(steps) {
    for (const [step, loss, rates] of steps) {
      if (loss === null || step <= (this.groups.at(-1)?.last ?? -1)) continue;
      this.groups.push({ first: step, last: step, low: loss, high: loss, mean: loss, falls: false, rates });
    }
    if (steps.length) this.draw();
    return this.groups.length > MAX_POINTS;
  }

  // Steps, losses and smoothed losses; a group of several steps gives its two extremes in their order.
  lossLines() {
    const [x, raw, smooth] = [[], [], []];
    let average = null;
    for (const group of this.groups) {
      const count = group.last - group.first + 1;
      const weight = this.smoothing ** count;
      average = average === null ? group.mean : weight * average + (1 - weight) * group.mean;
      if (count > 1) {
        x.push(group.first);
        raw.push(group.falls ? group.high : group.low);
        smooth.push(null);
      }
      x.push(group.last);
      raw.push(count > 1 && group.falls ? group.low : group.high);
      smooth.push(average);
    }
    return [x, raw, smooth];
  }

  rateLines() {
    const parts = Object.keys(this.groups.at(-1)?.rates ?? {});
    return { parts, lines: [this.groups.map((group) => group.last), ...parts.map((part) => this.groups.map((group) => group.rates[part] ?? null))] };
  }

  draw() {
    if (!this.groups.length) {
      for (const id of ["loss-plot", "rate-plot"]) get(id).replaceChildren(h("p", { class: "quiet small" }, _("It appears after the first step.")));
      this.loss = this.rate = null;
      return;
    }
    const losses = this.lossLines();
    const { parts, lines } = this.rateLines();
    if (!this.loss || this.parts !== parts.join()) this.build(parts);
    this.loss.setData(losses);
    this.rate.setData(lines);
    const last = losses[2].at(-1);
    get("loss-plot").setAttribute("aria-label", _("Loss by step: smoothed from {first} to {last}", { first: this.groups[0].mean.toPrecision(2), last: last.toPrecision(2) }));
    get("rate-plot").setAttribute("aria-label", _("Learning rate by step, now {rate}", { rate: formatRate(lines[1].at(-1)) }));
    this.showTables(losses[2].filter((value) => value !== null), parts);
  }

  build(parts) {
    this.parts = parts.join();
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    const axis = { stroke: colour("--ink-2"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font: `12px ${colour("--sans")}` };
    const options = (id, values, series, size, scale = {}) => ({
      width: get(id).clientWidth,
      height: HEIGHT,
      cursor: { y: false },
      legend: { live: true },
      scales: { x: { time: false, range: (_plot, low, high) => [Math.min(low, 0), Math.max(high, this.steps, 1)] }, y: scale },
      axes: [
        { ...axis, size: 32, grid: { show: false }, values: (_plot, ticks) => ticks.map((tick) => (Number.isInteger(tick) ? number(tick) : "")) },
        { ...axis, size, values: (_plot, ticks) => ticks.map(values) },
      ],
      series: [{ label: _("Step"), value: (_plot, value) => (value === null ? "–" : number(value)) }, ...series],
    });
    const show = (_plot, value) => (value === null || value === undefined ? "–" : value.toPrecision(3));
    const lossSeries = [
      { label: _("Loss"), stroke: `color-mix(in srgb, ${colour("--line-strong")} 60%, transparent)`, width: 1, points: { show: false }, value: show },
      { label: _("Smoothed"), stroke: colour("--accent"), width: 2, points: { show: false }, spanGaps: true, value: show },
    ];
    const rateSeries = parts.map((part, index) => ({
      label: part || _("Learning rate"), stroke: index ? colour("--line-strong") : colour("--accent"), width: 2, dash: index ? [6, 4] : undefined,
      points: { show: false }, value: (_plot, value) => formatRate(value),
    }));
    for (const id of ["loss-plot", "rate-plot"]) { get(id).replaceChildren(); get(id).setAttribute("role", "img"); }
    this.loss = new uPlot(options("loss-plot", (tick) => String(tick), lossSeries, 48), this.lossLines(), get("loss-plot"));
    this.rate = new uPlot(options("rate-plot", formatRate, rateSeries, 64, { range: (_plot, _low, high) => [0, high * 1.05 || 1] }), this.rateLines().lines, get("rate-plot"));
  }

  rebuild() {
    this.loss = null;
    this.draw();
  }

  resize() {
    for (const [plot, id] of [[this.loss, "loss-plot"], [this.rate, "rate-plot"]]) plot?.setSize({ width: get(id).clientWidth, height: HEIGHT });
  }

  // The same as the plots, at some twenty steps, for those who cannot see them or want the figures.
  showTables(smooth, parts) {
    const every = Math.max(1, Math.ceil(this.groups.length / TABLE_ROWS));
    const chosen = this.groups.map((group, index) => [group, smooth[index]]).filter((_pair, index) => index % every === 0 || index === this.groups.length - 1);
    get("loss-table").replaceChildren(table([_("Step"), _("Loss"), _("Smoothed")], chosen.map(([group, value]) => [number(group.last), group.mean.toPrecision(4), value.toPrecision(4)])));
    get("rate-table").replaceChildren(table([_("Step"), ...parts.map((part) => part || _("Learning rate"))], chosen.map(([group]) => [number(group.last), ...parts.map((part) => formatRate(group.rates[part]))])));
  }
}

function table(titles, rows) {
  return h("table", { class: "table figures" },
    h("thead", {}, h("tr", {}, ...titles.map((title) => h("th", { scope: "col" }, title)))),
    h("tbody", {}, ...rows.map((row) => h("tr", {}, ...row.map((value) => h("td", {}, value))))));
}

const formatRate = (rate) => (rate === null || rate === undefined ? "–" : rate === 0 ? "0" : Number(rate.toPrecision(3)).toExponential().replace("e+0", ""));
