"use strict";
(() => {
  let version = "";
  const status = document.getElementById("live");
  const showStatus = (text, isOff) => { status.textContent = text; status.classList.toggle("off", isOff); };
  const openIds = () => [...document.querySelectorAll("details[open][id]")].map((details) => details.id);
  const replacePage = (html) => {
    const newPage = new DOMParser().parseFromString(html, "text/html");
    const ids = openIds();
    for (const part of ["main", "#about", "nav"]) document.querySelector(part).replaceWith(newPage.querySelector(part));
    for (const id of ids) {
      const details = document.getElementById(id);
      if (details) details.open = true;
    }
    document.title = newPage.title;
    window.overnightCharts();
  };
  const poll = async () => {
    try {
      const response = await fetch("page", { cache: "no-store", headers: version ? { "If-None-Match": version } : {} });
      if (response.status === 200) {
        // Also at the first time: the run may have changed since the page itself was sent.
        replacePage(await response.text());
        version = response.headers.get("ETag");
      } else if (response.status !== 304) {
        throw new Error(response.status);
      }
      const isUnderWay = "underWay" in document.querySelector("main").dataset;
      showStatus(isUnderWay ? "live: changes are shown as generations are committed"
        : "no night is under way: what the next one commits is shown here", !isUnderWay);
    } catch {
      showStatus("not live: `overnight watch` does not answer; this page shows the last state that it sent", true);
    }
    setTimeout(poll, 2000);
  };
  poll();
})();
