// Keys, relative times and dialogs. Everything also works without it, by links and forms.
"use strict";
(() => {
  const $ = (selector, within = document) => within.querySelector(selector);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];

  // -- times -------------------------------------------------------------------------------------------------
  const ago = (when) => {
    const s = (Date.now() - when) / 1000;
    if (s < 5) return "now";
    for (const [size, unit] of [[86400, "d"], [3600, "h"], [60, "min"]]) if (s >= size) return `${Math.floor(s / size)} ${unit}`;
    return `${Math.floor(s)} s`;
  };
  const tick = () => all("time[data-ago]").forEach((t) => {
    if (t.dateTime) t.textContent = ago(new Date(t.dateTime));
  });
  setInterval(tick, 5000);

  // -- rows: j and k -----------------------------------------------------------------------------------------
  let here = null;
  const rows = () => all("[data-row]").filter((row) => row.offsetParent !== null);
  const mark = (row, scroll) => {
    all("[data-row].here").forEach((other) => other.classList.remove("here"));
    if (!row) return;
    here = row.dataset.row;
    row.classList.add("here");
    const link = $("a, summary", row);
    if (link && scroll) link.focus({ preventScroll: true });
    if (scroll) row.scrollIntoView({ block: "nearest" });
  };
  const move = (by) => {
    const list = rows();
    const at = list.findIndex((row) => row.dataset.row === here);
    mark(list[Math.max(0, Math.min(list.length - 1, at < 0 ? (by > 0 ? 0 : list.length - 1) : at + by))], true);
  };

  // -- keys --------------------------------------------------------------------------------------------------
  let pending = 0;
  document.addEventListener("keydown", (event) => {
    const typing = /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName) || event.target.isContentEditable;
    if (event.key === "Escape" && typing) return event.target.blur();
    if (typing || event.ctrlKey || event.metaKey || event.altKey || $("dialog[open]")) return;
    if (Date.now() - pending < 1200) {
      pending = 0;
      const link = $(`nav a[data-key="${CSS.escape(event.key)}"]`);
      if (link) { event.preventDefault(); link.click(); }
      return;
    }
    const act = {
      "/": () => { const box = $("main input[name=q]") || $(".find input"); box.focus(); box.select(); },
      j: () => move(1), k: () => move(-1), g: () => { pending = Date.now(); },
      t: () => window.switchTheme(), "?": () => $("#keys").showModal(),
    }[event.key];
    if (act) { event.preventDefault(); act(); }
  });
  $("#theme")?.addEventListener("click", () => window.switchTheme());

  // -- dialogs -----------------------------------------------------------------------------------------------
  document.addEventListener("click", (event) => {
    const opener = event.target.closest("[data-dialog]");
    if (opener) { event.preventDefault(); document.getElementById(opener.dataset.dialog)?.showModal(); }
    const closer = event.target.closest("[data-close]");
    const within = closer?.closest("dialog");
    if (within) { event.preventDefault(); within.close(); }
  });
  // A form that asks before an act opens above the page; without this script it is a page of its own.
  document.addEventListener("click", async (event) => {
    const link = event.target.closest("a[data-act]");
    if (!link || event.ctrlKey || event.metaKey || event.button) return;
    event.preventDefault();
    const box = $("#act");
    const answer = await fetch(link.href, { headers: { "hx-request": "true" } });
    if (!answer.ok) { location.href = link.href; return; }
    box.innerHTML = await answer.text();
    box.showModal();
    $("input[name=reason]", box)?.focus();
  });
  document.addEventListener("submit", (event) => {
    const button = event.submitter;
    if (button && event.target.method === "post") setTimeout(() => { button.disabled = true; }, 0);
  });
  addEventListener("pageshow", () => all("button:disabled:not([data-off])").forEach((b) => { b.disabled = false; }));

  // -- what htmx has swapped in ------------------------------------------------------------------------------
  document.addEventListener("htmx:afterSettle", () => {
    tick();
    if (here) {
      const focused = document.activeElement === document.body;
      const row = rows().find((one) => one.dataset.row === here);
      if (row) mark(row, focused);
    }
  });
  tick();
})();
