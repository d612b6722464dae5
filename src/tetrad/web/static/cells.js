// Images of Pick best and Compare, generated as they come into view: two requests at a time, the nearest first; those that
// leave the view before their turn are let go, and those that are worked on are cancelled.
import { ServerError, ask } from "./api.js";
import { LOOK_SECONDS, readState } from "./busy.js";
import { _ } from "./text.js";

const AT_ONCE = 2;

export class Cells {
  // `onChange(key)` is called when a cell is ready; `onProblem(error)` where one cannot be generated, and with null;
  // `onBusy(state)` when a training begins to use the device, and with null when it has ended.
  // `addressOf(wish)` is the address of the run whose cell it is.
  constructor(addressOf, { onChange, onProblem, onBusy }) {
    this.addressOf = addressOf;
    this.onChange = onChange;
    this.onProblem = onProblem;
    this.onBusy = onBusy;
    this.busy = null; // what is said while a training uses the device
    this.isPaused = true; // until it is known that none does
    this.ready = new Map(); // ids of images by key
    this.wanted = new Map(); // wishes by key, in the order in which they came into view
    this.working = new Map(); // AbortControllers by key
    addEventListener("pagehide", () => this.working.forEach((each) => each.abort()));
    this.look();
  }

  static key(wish) {
    return JSON.stringify([wish.run, wish.file, wish.strength, wish.prompt, wish.seed, wish.model]);
  }

  // What is on disk already is shown at once, and does not wait behind those that are generated.
  async want(wish) {
    const key = Cells.key(wish);
    if (this.ready.has(key) || this.working.has(key) || this.wanted.has(key)) return;
    this.wanted.set(key, null);
    const found = await ask("POST", `${this.addressOf(wish)}/cells`, { ...wish, draws: false }).catch(() => null);
    if (!this.wanted.has(key)) return; // it has left the view
    this.wanted.delete(key);
    if (found?.is_ready) {
      this.ready.set(key, found.id);
      this.onChange(key);
    } else {
      this.wanted.set(key, wish);
      this.next();
    }
  }

  let(wish) {
    const key = Cells.key(wish);
    this.wanted.delete(key);
    this.working.get(key)?.abort();
  }

  letAll() {
    this.wanted.clear();
    this.working.forEach((each) => each.abort());
  }

  next() {
    if (this.isPaused) return;
    for (const [key, wish] of this.wanted) {
      if (this.working.size >= AT_ONCE) return;
      if (wish === null) continue; // it is being looked for
      this.wanted.delete(key);
      this.generate(key, wish);
    }
  }

  async generate(key, wish) {
    const controller = new AbortController();
    this.working.set(key, controller);
    this.onChange(key);
    try {
      const { id } = await ask("POST", `${this.addressOf(wish)}/cells`, wish, controller.signal);
      this.ready.set(key, id);
      if (!this.busy) this.onProblem(null);
    } catch (error) {
      if (!controller.signal.aborted) {
        if (!(error instanceof ServerError)) throw error;
        this.wanted.set(key, wish);
        this.isPaused = true; // the others would fail for the same reason
        if (error.status === 409 && !error.answer.code) this.wait({ busy: error.message });
        else this.onProblem(error);
      }
    } finally {
      this.working.delete(key);
      this.onChange(key);
      this.next();
    }
  }

  again() {
    this.isPaused = false;
    this.next();
  }

  // What stands in the place of an image that is not there.
  word(wish) {
    if (this.working.has(Cells.key(wish))) return _("generating…");
    return this.busy ? _("waiting for the training") : "";
  }

  // One question for all cells, as often as a person would look.
  async look() {
    const state = await readState();
    if (state?.busy) this.wait(state);
    else {
      this.setBusy(null);
      this.again();
    }
  }

  wait(state) {
    this.setBusy(state);
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.look(), LOOK_SECONDS * 1000);
  }

  setBusy(state) {
    if (state?.busy === this.busy?.busy) return;
    this.busy = state;
    this.onBusy(state);
  }
}
