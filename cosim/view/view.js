"use strict";
/* Keeps a page that is served fresh: it is asked for again, and what has changed is put in its place. */
(() => {
  const EVERY_MS = 1500, PARTS = "h1, .lead, .headline, .told, .failed:not(#broken), nav, tbody, section > ul, .prose, h2, h3";
  const silent = Object.assign(document.createElement("p"), { className: "failed", hidden: true, id: "silent",
    textContent: "cosim view does not answer any more: it has ended, or is busy. What is shown is the last that was known." });
  silent.setAttribute("role", "status");
  document.querySelector("header").after(silent);

  /* At most two rows are ticked: a third unticks the first. */
  let ticked = [];
  const boxes = () => [...document.querySelectorAll('input[form="ticked"]')];
  const form = document.getElementById("ticked");
  const settle = () => { if (form) form.querySelector("button").disabled = ticked.length !== 2; };
  document.addEventListener("change", (event) => {
    const box = event.target;
    if (!box.matches('input[form="ticked"]')) return;
    ticked = ticked.filter((value) => value !== box.value);
    if (box.checked) ticked.push(box.value);
    if (ticked.length > 2) ticked.shift();
    for (const other of boxes()) other.checked = ticked.includes(other.value);
    settle();
  });
  ticked = boxes().filter((box) => box.checked).map((box) => box.value).slice(0, 2);
  settle();

  const parts = (doc) => [...doc.querySelectorAll(PARTS)].filter((part) => part.id !== "silent" && part.id !== "told" && !part.closest("noscript")); // which is text here, but not in what is parsed
  const data = (doc) => doc.getElementById("data").textContent;
  let shown = data(document), last = "";
  function put(text) {
    const fresh = new DOMParser().parseFromString(text, "text/html"), now = parts(document), then = parts(fresh);
    if (now.length !== then.length || !fresh.querySelector("script[src$='view.js']")) return location.reload();
    const changed = [];
    now.forEach((part, i) => {
      const content = then[i].innerHTML;
      if (part.dataset.was === content) return;
      part.dataset.was = content;
      part.replaceChildren(...then[i].childNodes);
      if (part.tagName === "TBODY") changed.push(part.closest("table"));
    });
    for (const box of boxes()) box.checked = ticked.includes(box.value);
    for (const table of changed) table.dispatchEvent(new Event("fresh"));
    if (data(fresh) !== shown) {
      shown = data(fresh);
      document.documentElement.dispatchEvent(new CustomEvent("fresh", { detail: JSON.parse(shown).charts }));
    }
  }
  async function again() {
    const began = performance.now();
    if (!document.hidden) {
      try {
        const answer = await fetch(location.href, { cache: "no-store" });
        if (!answer.ok) throw new Error(String(answer.status));
        const text = await answer.text();
        silent.hidden = true;
        if (text !== last) { last = text; put(text); }
      } catch { silent.hidden = false; }
    }
    setTimeout(again, Math.max(EVERY_MS, 4 * (performance.now() - began))); // a long list is asked for less often
  }
  setTimeout(again, EVERY_MS);
})();
