"use strict";
// Tables that sort and filter. Each has its rows as JSON beside it; cells are put in as text, never as markup.
(() => {
  const collator = new Intl.Collator("en", {numeric: true, sensitivity: "base"});
  const textOf = cell => Array.isArray(cell) ? cell[0] : cell === null ? "" : String(cell);

  function shownText(cell, column) {
    return typeof cell === "number" && column.digits !== null ? cell.toFixed(column.digits) : textOf(cell);
  }

  // Empty cells come last, whatever the direction.
  function compare(a, b, up) {
    if (a === null || b === null) return (a === null) - (b === null);
    const order = typeof a === "number" && typeof b === "number" ? a - b : collator.compare(textOf(a), textOf(b));
    return up ? order : -order;
  }

  function makeRow(row, columns) {
    const made = document.createElement("tr");
    row.forEach((cell, n) => {
      const place = made.appendChild(document.createElement("td"));
      if (columns[n].digits !== null) place.className = "number";
      const within = Array.isArray(cell) ? place.appendChild(document.createElement("a")) : place;
      if (Array.isArray(cell)) within.href = cell[1];
      within.textContent = shownText(cell, columns[n]);
    });
    return made;
  }

  function start(grid) {
    const {columns, rows, shown, sort} = JSON.parse(grid.querySelector("script").textContent);
    const body = grid.querySelector("tbody"), more = grid.querySelector(".more"), count = grid.querySelector(".count");
    const heads = [...grid.querySelectorAll("th")], inputs = [...grid.querySelectorAll(".controls input, .controls select")];
    const [find, ...filters] = inputs;
    let [by, up] = sort, all = false;

    function matches(row) {
      const wanted = find.value.trim().toLowerCase();
      if (wanted && !row.some(cell => textOf(cell).toLowerCase().includes(wanted))) return false;
      return filters.every(input => {
        const cell = row[Number(input.dataset.column)];
        if (input.value === "") return true;
        return input.tagName === "SELECT" ? textOf(cell) === input.value : cell !== null && cell <= Number(input.value);
      });
    }

    function draw() {
      const found = rows.filter(matches).sort((a, b) => compare(a[by], b[by], up));
      const drawn = all ? found : found.slice(0, shown);
      body.replaceChildren(...drawn.map(row => makeRow(row, columns)));
      heads.forEach((head, n) => head.setAttribute("aria-sort", n !== by ? "none" : up ? "ascending" : "descending"));
      count.textContent = `${found.length} of ${rows.length}`;
      more.hidden = drawn.length === found.length;
      more.textContent = `Show all ${found.length}`;
    }

    heads.forEach((head, n) => head.querySelector("button").addEventListener("click", () => {
      [by, up] = [n, n === by ? !up : true];
      draw();
    }));
    inputs.forEach(input => input.addEventListener("input", draw));
    more.addEventListener("click", () => { all = true; draw(); });
    grid.querySelector(".controls").hidden = false;
    draw();
  }

  document.querySelectorAll(".grid").forEach(start);
})();
