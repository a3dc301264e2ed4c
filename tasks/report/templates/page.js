"use strict";
(() => {
  const root = document.documentElement;
  const stored = { // a page opened from a file may have no storage
    get: () => { try { return localStorage.getItem("overnight-theme"); } catch { return null; } },
    set: (value) => { try { localStorage.setItem("overnight-theme", value); } catch { /* shown, but not kept */ } },
  };
  const dark = () => root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  const button = document.getElementById("theme");
  const name = () => { button.textContent = dark() ? "Light page" : "Dark page"; };
  if (["light", "dark"].includes(stored.get())) root.dataset.theme = stored.get();
  button.hidden = false;
  button.addEventListener("click", () => { root.dataset.theme = dark() ? "light" : "dark"; stored.set(root.dataset.theme); name(); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", name);
  name();

  const copy = async (from, to) => {
    const text = document.getElementById(from).textContent;
    let done = false;
    try { await navigator.clipboard.writeText(text); done = true; } catch {
      const range = document.createRange();
      range.selectNodeContents(document.getElementById(from));
      getSelection().removeAllRanges();
      getSelection().addRange(range);
      done = document.execCommand("copy");
    }
    const before = to.dataset.label ??= to.textContent;
    to.textContent = done ? "Copied" : "Press Ctrl+C";
    setTimeout(() => { to.textContent = before; }, 1500);
  };
  document.addEventListener("click", (event) => {
    const pressed = event.target.closest("button[data-copy]");
    if (pressed) copy(pressed.dataset.copy, pressed);
  });

  const svg = (tag, look) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    made.setAttribute("class", look);
    made.setAttribute("visibility", "hidden");
    return made;
  };
  const crosshair = (chart) => {
    const readings = JSON.parse(chart.dataset.readings);
    const said = chart.closest("figure").querySelector(".reading");
    const hair = chart.appendChild(svg("path", "hair"));
    const spot = chart.appendChild(svg("circle", "best"));
    spot.setAttribute("r", "4");
    let at = readings.length - 1;
    const show = (place) => {
      at = Math.min(Math.max(place, 0), readings.length - 1);
      const [x, y, text] = readings[at];
      hair.setAttribute("d", `M${x} ${chart.dataset.top}V${chart.dataset.floor}`);
      spot.setAttribute("cx", x);
      spot.setAttribute("cy", y);
      for (const mark of [hair, spot]) mark.setAttribute("visibility", "visible");
      said.textContent = text;
    };
    const hide = () => {
      for (const mark of [hair, spot]) mark.setAttribute("visibility", "hidden");
      said.textContent = "";
    };
    const nearest = (x) => readings.reduce((best, one, place) => Math.abs(one[0] - x) < Math.abs(readings[best][0] - x) ? place : best, 0);
    chart.addEventListener("pointermove", (event) => {
      const box = chart.getBoundingClientRect();
      show(nearest((event.clientX - box.left) / box.width * chart.viewBox.baseVal.width));
    });
    chart.addEventListener("pointerleave", hide);
    chart.addEventListener("blur", hide);
    chart.addEventListener("focus", () => { if (chart.matches(":focus-visible")) show(at); });
    chart.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10, Home: -Infinity, End: Infinity }[event.key];
      if (step === undefined) return;
      event.preventDefault();
      show(at + step);
    });
  };
  window.overnightCharts = () => document.querySelectorAll("svg[data-readings]").forEach(crosshair);
  window.overnightCharts();

  let closed = [];
  addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll("details:not([open])")];
    closed.forEach((one) => { one.open = true; });
  });
  addEventListener("afterprint", () => closed.forEach((one) => { one.open = false; }));
})();
