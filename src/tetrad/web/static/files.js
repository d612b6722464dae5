// Files that are dropped or chosen, folders included, with the names that they have in their folder.
const MAX_FILES = 5000;

export async function readDrop(transfer) {
  const entries = [...transfer.items].filter((item) => item.kind === "file").map((item) => item.webkitGetAsEntry?.() ?? item.getAsFile());
  const found = [];
  for (const entry of entries) await walk(entry, "", found);
  return found;
}

export function readInput(input) {
  const found = [...input.files].map((file) => ({ file, name: file.webkitRelativePath || file.name })).filter((each) => !isHidden(each.name));
  input.value = "";
  return found;
}

const isHidden = (name) => name.split("/").some((part) => part.startsWith("."));

async function walk(entry, folder, found) {
  if (entry === null || found.length >= MAX_FILES || isHidden(entry.name)) return;
  if (entry instanceof File) found.push({ file: entry, name: entry.name });
  else if (entry.isFile) {
    const file = await new Promise((resolve) => entry.file(resolve, () => resolve(null)));
    if (file) found.push({ file, name: folder + entry.name });
  } else {
    const reader = entry.createReader();
    for (;;) {
      const batch = await new Promise((resolve) => reader.readEntries(resolve, () => resolve([])));
      if (!batch.length) return;
      for (const each of batch) await walk(each, `${folder}${entry.name}/`, found);
    }
  }
}
