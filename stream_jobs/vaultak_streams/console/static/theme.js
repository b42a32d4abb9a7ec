// Before the first paint: the theme that was chosen, else the system's.
"use strict";
(() => {
  let chosen = null;
  try { chosen = localStorage.getItem("vaultak-theme"); } catch { /* storage may be off */ }
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const apply = () => { document.documentElement.dataset.theme = chosen || (dark.matches ? "dark" : "light"); };
  dark.addEventListener("change", apply);
  apply();
  window.switchTheme = () => {
    chosen = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    try { localStorage.setItem("vaultak-theme", chosen); } catch { /* it holds for this page then */ }
    apply();
    document.dispatchEvent(new Event("themechange"));
  };
})();
