// Risk over time, with the number of actions behind it.
"use strict";
(() => {
  const box = document.getElementById("chart");
  if (!box || !window.uPlot) return;
  let data = null, plot = null, range = "24h";
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
  const bars = uPlot.paths.bars({ size: [0.8, 24], align: 0 });
  const draw = () => {
    if (!data) return;
    plot?.destroy();
    const axis = { stroke: colour("--mute"), grid: { stroke: colour("--soft"), width: 1 }, ticks: { show: false }, font: "11px " + colour("--sans") };
    const when = (seconds) => new Date(seconds * 1000);
    const two = (n) => String(n).padStart(2, "0");
    const long = range === "7d" || range === "30d";
    plot = new uPlot({
      width: box.clientWidth, height: 200, legend: { live: true }, cursor: { points: { size: 6 } },
      scales: { risk: { range: [0, 1] }, n: { range: (_, __, top) => [0, Math.max(4, top * 2.2)] } },
      axes: [
        { ...axis, space: 70, values: (_, ticks) => ticks.map((t) => long ? `${when(t).getUTCDate()} ${months[when(t).getUTCMonth()]}` : `${two(when(t).getUTCHours())}:${two(when(t).getUTCMinutes())}`) },
        { ...axis, scale: "risk", size: 40, splits: () => [0, 0.25, 0.5, 0.75, 1] },
        { ...axis, scale: "n", side: 1, size: 44, grid: { show: false } },
      ],
      series: [
        { label: "Time", value: (_, t) => t == null ? "–" : `${when(t).getUTCDate()} ${months[when(t).getUTCMonth()]} ${two(when(t).getUTCHours())}:${two(when(t).getUTCMinutes())} UTC` },
        { label: "Actions", scale: "n", value: (_, v) => v ?? "–", paths: bars, fill: colour("--line"), stroke: colour("--line"), width: 0, points: { show: false } },
        { label: "Stopped", scale: "n", value: (_, v) => v ?? "–", paths: bars, fill: colour("--high"), stroke: colour("--high"), width: 0, points: { show: false } },
        { label: "Highest risk", scale: "risk", stroke: colour("--accent"), width: 1.8, spanGaps: false, points: { show: true, size: 4, fill: colour("--accent") }, value: (_, v) => v == null ? "–" : v.toFixed(2) },
      ],
      hooks: { drawAxes: [(u) => {
        const y = u.valToPos(0.7, "risk", true), c = u.ctx;
        c.save(); c.strokeStyle = colour("--high"); c.globalAlpha = 0.45; c.setLineDash([4, 4]); c.beginPath();
        c.moveTo(u.bbox.left, y); c.lineTo(u.bbox.left + u.bbox.width, y); c.stroke(); c.restore();
      }] },
    }, [data.at, data.actions, data.stopped, data.risk], box);
    box.dataset.drawn = range;
  };
  const choose = (chosen) => {
    range = chosen;
    document.querySelectorAll("[data-range]").forEach((b) => b.setAttribute("aria-pressed", String(b.dataset.range === range)));
    return load();
  };
  let first = true;
  const load = async () => {
    const answer = await fetch(`${box.dataset.src}&range=${range}`, { headers: { accept: "application/json" } });
    if (!answer.ok) { box.textContent = "The chart's figures did not come."; return; }
    data = await answer.json();
    const since = data.at[data.risk.findIndex((risk) => risk != null)];
    const known = Date.now() / 1000 - since;  // a young agent fills the chart from the start
    const begin = first && (known < 4500 ? "1h" : known < 21600 ? "6h" : "");
    first = false;
    if (begin) return choose(begin);
    draw();
  };
  document.querySelectorAll("[data-range]").forEach((button) => button.addEventListener("click", () => choose(button.dataset.range)));
  document.addEventListener("themechange", draw);
  new ResizeObserver(() => plot && plot.width !== box.clientWidth && plot.setSize({ width: box.clientWidth, height: 200 })).observe(box);
  load();
})();
