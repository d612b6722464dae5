// The drop zone of the first page: files become a draft, which is opened once they are there. And the list of drafts.
import { ask, press, showProblem } from "./api.js";
import { confirmLoss } from "./dialog.js";
import { get } from "./dom.js";
import { acceptDrop } from "./drop.js";
import { readDrop, readInput } from "./files.js";
import { isRecipe, openRecipe } from "./recipe_file.js";
import { _ } from "./text.js";
import { toast } from "./toast.js";
import { Uploads } from "./uploads.js";

const uploads = new Uploads(get("home-upload"));

async function begin(files, isOpened = false) {
  if (!files.length || uploads.isBusy) return;
  try {
    if (isOpened || isRecipe(files)) {
      await openRecipe(files[0]);
      return;
    }
    const draft = await ask("POST", "/api/drafts");
    let stored = 0;
    let refused = null;
    await uploads.send(`/api/drafts/${draft.id}`, uploads.choose(files), (_name, received) => {
      stored += received.stored;
      refused ??= received.refused[0];
    });
    if (!stored && refused) {
      await ask("DELETE", `/api/drafts/${draft.id}`);
      toast(refused.text, { tone: "bad" });
      return;
    }
    const { step } = await ask("GET", `/api/drafts/${draft.id}`); // a server that has gone meanwhile is said here
    location.href = `/new/${draft.id}/${step}`;
  } catch (error) {
    showProblem(error);
  }
}

for (const name of ["images", "folder", "recipe"]) {
  get(`home-${name}`).addEventListener("click", () => get(`home-pick-${name}`).click());
  get(`home-pick-${name}`).addEventListener("change", () => begin(readInput(get(`home-pick-${name}`)), name === "recipe"));
}
acceptDrop(async (transfer) => begin(await readDrop(transfer)));

get("drafts")?.addEventListener("click", (event) => {
  const button = event.target.closest("[data-delete-draft]");
  if (button) press(button, () => deleteDraft(button.dataset.deleteDraft, button.dataset.title));
});

async function deleteDraft(id, name) {
  const { sentence } = await ask("GET", `/api/drafts/${id}/contents`);
  if (!(await confirmLoss({ title: _("Delete “{name}”?", { name }), text: sentence, keep: _("Keep it"), lose: _("Delete it") }))) return;
  await ask("DELETE", `/api/drafts/${id}`);
  document.querySelector(`[data-draft="${id}"]`).remove();
  if (!get("drafts").querySelector("li")) get("drafts").remove();
  toast(_("{name} is deleted.", { name }));
}
