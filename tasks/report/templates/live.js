"use strict";
(() => {
  let mark = "";
  const state = document.getElementById("live");
  const say = (text, off) => { state.textContent = text; state.classList.toggle("off", off); };
  const opened = () => new Set([...document.querySelectorAll("details[open][id]")].map((one) => one.id));
  const take = (text) => {
    const fresh = new DOMParser().parseFromString(text, "text/html");
    const open = opened();
    for (const part of ["main", "#about"]) document.querySelector(part).replaceWith(fresh.querySelector(part));
    open.forEach((id) => { const one = document.getElementById(id); if (one) one.open = true; });
    document.title = fresh.title;
    window.overnightCharts();
  };
  const look = async () => {
    try {
      const answer = await fetch("page", { cache: "no-store", headers: mark ? { "If-None-Match": mark } : {} });
      if (answer.status === 200) {
        const text = await answer.text();
        if (mark) take(text);
        mark = answer.headers.get("ETag");
      } else if (answer.status !== 304) {
        throw new Error(answer.status);
      }
      say("live: changes are shown as generations are committed", false);
    } catch {
      say("not live: `overnight watch` does not answer; this page is what was last seen", true);
    }
    setTimeout(look, 2000);
  };
  look();
})();
