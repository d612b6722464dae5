// A recipe, or another trainer's configuration, that is dropped or chosen: the server says which page goes on with it.
import { ask } from "./api.js";

const ENDINGS = /\.(toml|json|ya?ml|sh|bat|cmd|ps1)$/i;

export const isRecipe = (files) => files.length === 1 && ENDINGS.test(files[0].name);

export async function openRecipe({ file, name }) {
  const { address } = await ask("POST", `/api/imports?${new URLSearchParams({ file: name })}`, file);
  location.href = address;
}
