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

  const unpack = (panel) => {
    panel.functions ??= new Response(
      new Blob([Uint8Array.from(atob(panel.dataset.functions), (letter) => letter.charCodeAt(0))]).stream()
        .pipeThrough(new DecompressionStream("deflate")),
    ).json();
    return panel.functions;
  };
  const showFunction = async (panel, programId, text) => {
    const [note, code] = [panel.querySelector("p"), panel.querySelector("pre")];
    panel.wanted = programId;
    const functions = await unpack(panel).catch(() => ({}));
    if (panel.wanted !== programId) return; // another program was pointed at meanwhile
    const isThere = programId in functions;
    note.textContent = isThere ? text : `${text}. Its code: overnight show ${programId}`;
    code.firstChild.textContent = functions[programId] ?? "";
    code.hidden = !isThere;
    panel.hidden = false;
  };
  // Marks of a chart that can be read, from left to right, with their places in the chart's own units.
  const readableMarks = (chart) => {
    const box = chart.getBoundingClientRect();
    const scale = chart.viewBox.baseVal.width / box.width;
    return [...chart.querySelectorAll("title")].map((title) => {
      const own = title.parentNode.getBoundingClientRect();
      return {
        x: (own.left + own.width / 2 - box.left) * scale,
        y: (own.top + own.height / 2 - box.top) * scale,
        text: title.textContent,
        programId: title.parentNode.dataset.program,
        isStop: "stop" in title.parentNode.dataset,
      };
    }).sort((one, other) => one.x - other.x);
  };
  const addReadings = (chart) => {
    const figure = chart.closest("figure");
    const [output, panel] = [figure.querySelector(".reading"), figure.querySelector(".pointed")];
    const ring = chart.appendChild(document.createElementNS("http://www.w3.org/2000/svg", "circle"));
    ring.setAttribute("class", "hair");
    ring.setAttribute("r", "6");
    ring.setAttribute("visibility", "hidden");
    let marks = [], stops = [], current = -1, isKept = false;
    const measure = () => {
      if (marks.length) return;
      marks = readableMarks(chart);
      stops = marks.some((mark) => mark.isStop) ? marks.filter((mark) => mark.isStop) : marks;
    };
    const show = (mark) => {
      ring.setAttribute("cx", mark.x);
      ring.setAttribute("cy", mark.y);
      ring.setAttribute("visibility", "visible");
      output.textContent = mark.text;
      if (panel && mark.programId) showFunction(panel, mark.programId, mark.text);
    };
    const hide = () => {
      if (isKept) return;
      ring.setAttribute("visibility", "hidden");
      output.textContent = "";
    };
    const nearest = (event) => {
      measure();
      const box = chart.getBoundingClientRect();
      const scale = chart.viewBox.baseVal.width / box.width;
      const [x, y] = [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
      const distance = (mark) => Math.hypot(mark.x - x, mark.y - y);
      return marks.reduce((best, mark) => distance(mark) < distance(best) ? mark : best);
    };
    const stopAt = (index) => {
      measure();
      current = Math.min(Math.max(index, 0), stops.length - 1);
      show(stops[current]);
    };
    chart.addEventListener("pointermove", (event) => { if (!isKept) show(nearest(event)); });
    chart.addEventListener("pointerleave", hide);
    chart.addEventListener("click", (event) => { isKept = !isKept; show(nearest(event)); });
    chart.addEventListener("blur", () => { isKept = false; hide(); });
    chart.addEventListener("focus", () => { if (chart.matches(":focus-visible")) stopAt(current < 0 ? Infinity : current); });
    chart.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10, Home: -Infinity, End: Infinity }[event.key];
      if (step === undefined) return;
      event.preventDefault();
      stopAt(current + step);
    });
  };
  window.overnightCharts = () => document.querySelectorAll("figure.chart svg[tabindex]").forEach(addReadings);
  window.overnightCharts();

  // A table of runs: a button in each head sorts, a field above it filters.
  const cellValue = (row, column) => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
  const compare = (one, other) => {
    const numbers = [one, other].map((text) => text === "" ? NaN : Number(text));
    if (numbers.every((value) => !Number.isNaN(value))) return numbers[0] - numbers[1];
    return Number.isNaN(numbers[0]) - Number.isNaN(numbers[1]) || one.localeCompare(other);
  };
  const sortBy = (head) => {
    const [table, column] = [head.closest("table"), head.cellIndex];
    const isDescending = head.ariaSort !== "descending";
    for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
    head.ariaSort = isDescending ? "descending" : "ascending";
    const rows = [...table.tBodies[0].rows];
    rows.sort((one, other) => compare(cellValue(one, column), cellValue(other, column)) * (isDescending ? -1 : 1));
    table.tBodies[0].append(...rows);
  };
  document.querySelectorAll("table.sortable").forEach((table) => {
    table.tHead.addEventListener("click", (event) => {
      const head = event.target.closest("th[data-sorts]");
      if (head) sortBy(head);
    });
    const field = document.getElementById(table.dataset.filter);
    field?.addEventListener("input", () => {
      const words = field.value.toLowerCase().split(/\s+/);
      let shown = 0;
      for (const row of table.tBodies[0].rows) {
        row.hidden = !words.every((word) => row.textContent.toLowerCase().includes(word));
        shown += !row.hidden;
      }
      document.getElementById(field.dataset.count).textContent = `${shown} of ${table.tBodies[0].rows.length} runs`;
    });
  });

  let closed = [];
  addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll("details:not([open])")];
    closed.forEach((details) => { details.open = true; });
  });
  addEventListener("afterprint", () => closed.forEach((details) => { details.open = false; }));
})();
