"use strict";
(() => {
  const [status, area] = [document.getElementById("live"), document.getElementById("answer")];
  const buttons = [...document.querySelectorAll("button[data-post]")];
  const draft = `draft of ${location.pathname}`;
  const ask = async (address, options, parts) => {
    let isThere = false;
    try {
      const page = new DOMParser().parseFromString(await (await fetch(address, options)).text(), "text/html");
      const fresh = parts.map((part) => page.getElementById(part).childNodes);
      fresh.forEach((nodes, number) => document.getElementById(parts[number]).replaceChildren(...nodes));
      isThere = true;
    } catch { /* said below */ }
    const said = isThere ? "live: new requests appear here"
      : "not live: `overnight relay` does not answer; what you wrote stays on this page";
    if (status.textContent !== said) status.textContent = said; // else a screen reader would say it again
    status.classList.toggle("off", !isThere);
  };
  const poll = async () => {
    const isInUse = document.getElementById("waiting").contains(document.activeElement);
    await ask(location.pathname, { cache: "no-store" }, isInUse ? [] : ["waiting"]);
    setTimeout(poll, 3000);
  };
  const post = async (address) => {
    buttons.forEach((button) => { button.disabled = true; });
    await ask(address, { method: "POST", body: area.value }, ["waiting", "result"]);
    document.getElementById("result").scrollIntoView({ block: "nearest" });
    buttons.forEach((button) => { button.disabled = false; });
  };
  buttons.forEach((button) => button.addEventListener("click", () => post(button.dataset.post)));
  if (area) {
    area.value ||= sessionStorage.getItem(draft) ?? "";
    area.addEventListener("input", () => {
      try { sessionStorage.setItem(draft, area.value); } catch { /* too long: it is on the page alone */ }
    });
  }
  poll();
})();
