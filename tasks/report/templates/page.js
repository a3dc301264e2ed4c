"use strict";
(() => {
  const root = document.documentElement;
  const storedTheme = { // a page that is opened from a file may have no storage
    get: () => { try { return localStorage.getItem("overnight-theme"); } catch { return null; } },
    set: (value) => { try { localStorage.setItem("overnight-theme", value); } catch { /* the choice is not kept */ } },
  };
  const isDark = () => root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  const button = document.getElementById("theme");
  const updateLabel = () => { button.textContent = isDark() ? "Light page" : "Dark page"; };
  if (["light", "dark"].includes(storedTheme.get())) root.dataset.theme = storedTheme.get();
  button.hidden = false;
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    storedTheme.set(root.dataset.theme);
    updateLabel();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", updateLabel);
  updateLabel();

  const copy = async (sourceId, copyButton) => {
    const source = document.getElementById(sourceId);
    let isCopied = false;
    try { await navigator.clipboard.writeText(source.textContent); isCopied = true; } catch {
      // A page that is opened from a file may have no clipboard: select the text, so that Ctrl+C copies it.
      const range = document.createRange();
      range.selectNodeContents(source);
      getSelection().removeAllRanges();
      getSelection().addRange(range);
      isCopied = document.execCommand("copy");
    }
    const label = copyButton.dataset.label ??= copyButton.textContent;
    copyButton.textContent = isCopied ? "Copied" : "Press Ctrl+C";
    setTimeout(() => { copyButton.textContent = label; }, 1500);
  };
  document.addEventListener("click", (event) => {
    const copyButton = event.target.closest("button[data-copy]");
    if (copyButton) copy(copyButton.dataset.copy, copyButton);
  });

  const hiddenMark = (tag, cssClass) => {
    const mark = document.createElementNS("http://www.w3.org/2000/svg", tag);
    mark.setAttribute("class", cssClass);
    mark.setAttribute("visibility", "hidden");
    return mark;
  };
  const addCrosshair = (chart) => {
    const readings = JSON.parse(chart.dataset.readings);
    const output = chart.closest("figure").querySelector(".reading");
    const line = chart.appendChild(hiddenMark("path", "hair"));
    const disc = chart.appendChild(hiddenMark("circle", "best"));
    disc.setAttribute("r", "4");
    let current = readings.length - 1;
    const show = (index) => {
      current = Math.min(Math.max(index, 0), readings.length - 1);
      const [x, y, text] = readings[current];
      line.setAttribute("d", `M${x} ${chart.dataset.top}V${chart.dataset.bottom}`);
      disc.setAttribute("cx", x);
      disc.setAttribute("cy", y);
      for (const mark of [line, disc]) mark.setAttribute("visibility", "visible");
      output.textContent = text;
    };
    const hide = () => {
      for (const mark of [line, disc]) mark.setAttribute("visibility", "hidden");
      output.textContent = "";
    };
    const nearest = (x) => readings.reduce((best, reading, index) => Math.abs(reading[0] - x) < Math.abs(readings[best][0] - x) ? index : best, 0);
    chart.addEventListener("pointermove", (event) => {
      const box = chart.getBoundingClientRect();
      show(nearest((event.clientX - box.left) / box.width * chart.viewBox.baseVal.width));
    });
    chart.addEventListener("pointerleave", hide);
    chart.addEventListener("blur", hide);
    chart.addEventListener("focus", () => { if (chart.matches(":focus-visible")) show(current); });
    chart.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10, Home: -Infinity, End: Infinity }[event.key];
      if (step === undefined) return;
      event.preventDefault();
      show(current + step);
    });
  };
  window.overnightCharts = () => document.querySelectorAll("svg[data-readings]").forEach(addCrosshair);
  window.overnightCharts();

  let closed = [];
  addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll("details:not([open])")];
    closed.forEach((details) => { details.open = true; });
  });
  addEventListener("afterprint", () => closed.forEach((details) => { details.open = false; }));
})();
