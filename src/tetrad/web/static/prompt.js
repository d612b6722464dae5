// The networks that a prompt names: `<lora:name:0.7>`, and the weight of a word, `(word:1.2)`.
const TAG = /<(\w+):([^:>]+)(?::([^>]*))?>/g;
const NUMBER = /^[-+]?(\d+\.?\d*|\.\d+)$/;
export const TAGS = { lora: "lora", hypernetwork: "hypernet" };
export const TYPES = { lora: "lora", lyco: "lora", hypernet: "hypernetwork" };

// {type, name, strength} of each tag; the strength is null where parts of the model have their own.
export function listTags(prompt) {
  return [...prompt.matchAll(TAG)].filter(([, tag]) => tag in TYPES).map(([, tag, name, strength = "1"]) => ({
    type: TYPES[tag], name: name.trim(), strength: NUMBER.test(strength.trim()) ? Number(strength) : null,
  }));
}

const format = (strength) => String(Number(strength.toFixed(2)));

// The prompt with another strength for a tag, or with another name, or without the tag.
export function changeTag(prompt, { type, name }, { strength, to = name, remove = false }) {
  let isDone = false;
  const changed = prompt.replace(TAG, (whole, tag, found, old) => {
    if (isDone || TYPES[tag] !== type || found.trim() !== name) return whole;
    isDone = true;
    if (remove) return "";
    return `<${tag}:${to}${strength === undefined ? (old === undefined ? "" : `:${old}`) : `:${format(strength)}`}>`;
  });
  return remove ? changed.replace(/ {2,}/g, " ").trim() : changed;
}

const escape = (text) => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
const weighted = (word) => new RegExp(`\\(${escape(word)}:([-+]?[\\d.]+)\\)`, "i");
const plain = (word) => new RegExp(`(?<![\\p{L}\\p{N}_])${escape(word)}(?![\\p{L}\\p{N}_])`, "iu");

export const wordWeight = (prompt, word) => Number(prompt.match(weighted(word))?.[1] ?? 1);
export const hasWord = (prompt, word) => plain(word).test(prompt.replace(TAG, ""));

// The prompt with another weight for a word (an embedding), or without it.
export function changeWord(prompt, word, { strength, remove = false }) {
  const pattern = weighted(word).test(prompt) ? weighted(word) : plain(word);
  if (remove) return prompt.replace(pattern, "").replace(/ {2,}/g, " ").replace(/^[\s,]+|[\s,]+$/g, "");
  return prompt.replace(pattern, () => (strength === 1 ? word : `(${word}:${format(strength)})`));
}
