// Send files to a draft, three at a time. The same file twice is sent once. Where the server does not answer, as when it
// is started again, the rest waits for it.
import { ask, ServerError } from "./api.js";
import { _, ngettext } from "./text.js";
import { toast } from "./toast.js";

const AT_ONCE = 3;
const PAUSE = 2_000; // ms between two looks whether the server is there again

// Whether the server gives any answer.
const isThere = () => fetch("/static/icon.svg", { method: "HEAD", cache: "no-store" }).then(() => true, () => false);

export class Uploads {
  // `place` has a bar and a text for the progress.
  constructor(place) {
    this.place = place;
    this.known = new Map();
    this.waiting = [];
    this.total = 0;
    this.done = 0;
    this.active = 0;
    this.isStuck = false; // whether the server does not answer
    addEventListener("beforeunload", (event) => { if (this.isBusy) event.preventDefault(); });
  }

  get isBusy() { return this.active > 0 || this.waiting.length > 0; }

  showProgress() {
    const { done, total } = this;
    const percent = Math.round((100 * done) / Math.max(1, total));
    const bar = this.place.querySelector("svg");
    this.place.hidden = !total;
    bar.setAttribute("aria-valuenow", percent);
    bar.firstChild.setAttribute("width", percent);
    this.place.querySelector("span").textContent = this.isStuck
      ? ngettext("{done} of {count} file added. The server does not answer; the rest is sent when it does.", "{done} of {count} files added. The server does not answer; the rest is sent when it does.", total, { done })
      : ngettext("{done} of {count} file added", "{done} of {count} files added", total, { done });
  }

  // Take files that are to be sent; returns those that are new, with the names they will have.
  choose(files) {
    const fresh = [];
    let again = 0;
    for (const { file, name } of files) {
      const content = file.size; // two images of one name and one size are the same
      let own = name;
      for (let number = 2; this.known.has(own) && this.known.get(own) !== content; number += 1) own = `${number}/${name}`;
      if (this.known.has(own)) again += 1;
      else fresh.push({ file, name: own });
      this.known.set(own, content);
    }
    if (again) toast(ngettext("{count} file was added before.", "{count} files were added before.", again));
    return fresh;
  }

  // Send a file to the server, which answers for sure, or refuses it.
  async deliver(address, file) {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await ask("POST", address, file);
      } catch (error) {
        if (!(error instanceof ServerError) || error.answer) throw error;
        if (await isThere()) {
          if (attempt > 1) throw new ServerError(_("The browser cannot read this file. Was it moved or deleted?"));
          continue;
        }
        this.isStuck = true;
        this.showProgress();
        do await new Promise((resolve) => setTimeout(resolve, PAUSE)); while (!(await isThere()));
        this.isStuck = false;
        attempt = 0;
      }
    }
  }

  // Send files to the draft at this address; `onStored` gets each name as soon as the server has it.
  send(address, files, onStored) {
    this.total += files.length;
    this.waiting.push(...files);
    return new Promise((resolve) => {
      const next = async () => {
        const each = this.waiting.shift();
        if (!each) {
          if (this.active === 0) resolve();
          return;
        }
        this.active += 1;
        try {
          const received = await this.deliver(`${address}/files?${new URLSearchParams({ file: each.name })}`, each.file);
          if (!received.stored) this.known.delete(each.name); // it may come again
          onStored(each.name, received);
        } catch (error) {
          if (!(error instanceof ServerError)) throw error;
          this.known.delete(each.name);
          onStored(each.name, { stored: 0, refused: [{ name: each.name, code: error.answer?.code ?? "", text: error.message }] });
        } finally {
          this.active -= 1;
          this.done += 1;
          if (!this.isBusy) this.total = this.done = 0;
          this.showProgress();
        }
        await next();
      };
      this.showProgress();
      for (let lane = 0; lane < AT_ONCE; lane += 1) next();
    });
  }
}
