// What every page does: language, theme, the menu on narrow screens.
import { get } from "./dom.js";

const YEAR = 365 * 86400;

// A press would be lost before the scripts of the page have run, which is when this event comes.
document.addEventListener("DOMContentLoaded", () => { get("main").inert = false; });

function remember(name, value) {
  document.cookie = `${name}=${value}; path=/; max-age=${YEAR}; samesite=strict`;
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-language], [data-theme-switch]");
  if (button?.dataset.language) {
    remember("tetrad-language", button.dataset.language);
    location.reload();
  } else if (button) {
    const root = document.documentElement;
    const isDark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = isDark ? "light" : "dark";
    remember("tetrad-theme", root.dataset.theme);
    document.dispatchEvent(new CustomEvent("themechange"));
  }
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    if (!menu.contains(event.target)) menu.open = false;
  }
});

document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    menu.open = false;
    menu.querySelector("summary").focus();
  }
});
