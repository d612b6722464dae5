// The messages of the scripts in the page's language. A message is one literal string in double quotes, with named values.
const language = document.documentElement.lang.replace("-", "_");
const messages = (await import(`/texts/${language}.js`)).default;

const fill = (text, values) => text.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole));

export const _ = (template, values = {}) => fill(messages[template]?.[0] ?? template, values);

export function ngettext(one, many, count, values = {}) {
  const forms = messages[many] ?? [one, many];
  return fill(forms[count === 1 ? 0 : 1], { count: number(count), ...values });
}

// What stands between two sentences: Chinese has no space there.
export const gap = language.startsWith("zh") ? "" : " ";

export const number = (value) => value.toLocaleString("en-US");
