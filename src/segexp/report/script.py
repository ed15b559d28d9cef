"""What makes the tables of a page sort and filter. Plain JavaScript, nothing from elsewhere; without it the page is whole.

A cell is text, a number, null, or [text, address]. Text is set as text, never as markup.
"""

SCRIPT = r"""
"use strict";
(() => {
const collator = new Intl.Collator("en", {numeric: true, sensitivity: "base"});
const textOf = cell => Array.isArray(cell) ? cell[0] : cell === null ? "" : String(cell);

function shownText(cell, column) {
  return typeof cell === "number" && column.digits !== null ? cell.toFixed(column.digits) : textOf(cell);
}

function compared(a, b, up) {
  if (a === null || b === null) return (a === null) - (b === null);
  const order = typeof a === "number" && typeof b === "number" ? a - b : collator.compare(textOf(a), textOf(b));
  return up ? order : -order;
}

function line(row, columns) {
  const drawn = document.createElement("tr");
  row.forEach((cell, n) => {
    const place = drawn.appendChild(document.createElement("td"));
    if (columns[n].digits !== null) place.className = "number";
    const within = Array.isArray(cell) ? place.appendChild(document.createElement("a")) : place;
    if (Array.isArray(cell)) within.href = cell[1];
    within.textContent = shownText(cell, columns[n]);
  });
  return drawn;
}

function start(grid) {
  const {columns, rows, shown, sort} = JSON.parse(grid.querySelector("script").textContent);
  const body = grid.querySelector("tbody"), more = grid.querySelector(".more"), count = grid.querySelector(".count");
  const heads = [...grid.querySelectorAll("th")], inputs = [...grid.querySelectorAll(".controls input, .controls select")];
  const [find] = inputs;
  let [by, up] = sort, all = false;

  function fits(row) {
    const wanted = find.value.trim().toLowerCase();
    if (wanted && !row.some(cell => textOf(cell).toLowerCase().includes(wanted))) return false;
    return inputs.slice(1).every(input => {
      const cell = row[Number(input.dataset.column)];
      if (input.value === "") return true;
      return input.tagName === "SELECT" ? textOf(cell) === input.value : cell !== null && cell <= Number(input.value);
    });
  }

  function draw() {
    const found = rows.filter(fits).sort((a, b) => compared(a[by], b[by], up));
    const drawn = all ? found : found.slice(0, shown);
    body.replaceChildren(...drawn.map(row => line(row, columns)));
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
"""

STYLE = """
.controls{display:flex;flex-wrap:wrap;gap:.4rem 1rem;align-items:center;font-size:.9rem;margin:.6rem 0}
.controls[hidden]{display:none}
.controls label{display:flex;gap:.4rem;align-items:center;color:var(--soft)}
.controls input,.controls select,.more{font:inherit;color:var(--ink);background:var(--box);border:1px solid var(--line);
border-radius:4px;padding:.25rem .45rem;max-width:12rem}
.controls input[type=number]{width:5.5rem}
.more{cursor:pointer;max-width:none}.count{color:var(--soft)}
.grid th button{all:unset;cursor:pointer;white-space:nowrap}
.grid th button:focus-visible{outline:2px solid var(--accent);outline-offset:2px}
.grid th button:hover{color:var(--ink)}
.grid th button::after{content:"\\2195";opacity:.35;margin-left:.25em}
.grid th[aria-sort=ascending] button::after{content:"\\25B2";opacity:1}
.grid th[aria-sort=descending] button::after{content:"\\25BC";opacity:1}
.grid td:first-child,.grid th:first-child{position:sticky;left:0;background:var(--paper)}
@media (max-width:34rem){.grid td:first-child{min-width:8.5rem;max-width:9.5rem;overflow-wrap:anywhere}}
""".replace("\n", "")
