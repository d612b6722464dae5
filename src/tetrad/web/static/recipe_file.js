// A recipe file that is dropped or chosen becomes a draft, which is opened at its plan.
import { ask } from "./api.js";

export const isRecipe = (files) => files.length === 1 && files[0].name.toLowerCase().endsWith(".toml");

export async function openRecipe({ file, name }) {
  const made = await ask("POST", "/api/drafts/recipe", { text: await file.text(), name });
  location.href = `/new/${made.id}/${made.step}`;
}
