"use strict";
/* Tables: a click on a head sorts its column; rows are found by the words in them. Nothing is drawn here. */
(() => {
  const sort = (table, column, up) => {
    const heads = [...table.querySelectorAll("thead th")], body = table.tBodies[0];
    heads.forEach((th) => th.removeAttribute("aria-sort"));
    heads[column].setAttribute("aria-sort", up ? "ascending" : "descending");
    const key = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent;
    const rows = [...body.rows].map((row) => [key(row), row]);
    const number = rows.every(([k]) => k === "" || !Number.isNaN(Number(k)));
    const order = (a, b) => (a === "" ? 1 : b === "" ? -1 : (number ? a - b : a.localeCompare(b, undefined, { numeric: true })) * (up ? 1 : -1));
    body.append(...rows.sort((a, b) => order(a[0], b[0])).map(([, row]) => row));
  };
  const find = (input, table) => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of table.tBodies[0].rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
      shown += !row.hidden;
    }
    input.parentElement.querySelector("output").textContent = words.length ? `${shown} of ${table.tBodies[0].rows.length} rows` : "";
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    const input = document.getElementById(`find-${table.id}`);
    table.querySelectorAll("thead th button").forEach((button, column) => button.addEventListener("click", () =>
      sort(table, column, button.closest("th").getAttribute("aria-sort") !== "ascending")));
    if (input) input.addEventListener("input", () => find(input, table));
    table.addEventListener("fresh", () => { // its rows are new: as they were sorted and looked for
      const heads = [...table.querySelectorAll("thead th")], by = heads.findIndex((th) => th.hasAttribute("aria-sort"));
      if (by >= 0) sort(table, by, heads[by].getAttribute("aria-sort") === "ascending");
      if (input) find(input, table);
    });
  }
})();
