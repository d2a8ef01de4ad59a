"use strict";

// Sorts and filters the tables of `sortable_table`. A heading sorts upwards, then downwards, then not at all.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const rows = [...body.rows];
  const collator = new Intl.Collator("en", { numeric: true });

  // Numbers before text before what is missing.
  const rank = (cell) => ("missing" in cell.dataset ? 2 : "value" in cell.dataset ? 0 : 1);
  const compare = (a, b) => (rank(a) === 0 ? Number(a.dataset.value) - Number(b.dataset.value) : collator.compare(a.textContent, b.textContent));

  function sort(column, direction) {
    heads.forEach((head, place) => head.setAttribute("aria-sort", place === column ? direction : "none"));
    const sign = { ascending: 1, descending: -1, none: 0 }[direction];
    const sorted = sign ? [...rows].sort((one, two) => {
      const [a, b] = [one.cells[column], two.cells[column]];
      const apart = rank(a) - rank(b);
      if (rank(a) === 2 || rank(b) === 2) return apart; // at the end in either direction
      return sign * (apart || compare(a, b));
    }) : rows;
    body.append(...sorted);
  }

  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    button.addEventListener("click", () => {
      sort(column, { ascending: "descending", descending: "none" }[head.getAttribute("aria-sort")] ?? "ascending");
    });
    head.append(button);
    head.setAttribute("aria-sort", "none");
  });

  const field = document.getElementById(`${table.id}-filter`);
  const control = field.closest(".filter");
  function filter() {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const row of rows) {
      const texts = [...row.cells].map((cell) => cell.textContent.toLowerCase());
      row.hidden = !words.every((word) => texts.some((text) => text.includes(word)));
    }
    const shown = rows.filter((row) => !row.hidden).length;
    control.querySelector("output").textContent = words.length ? `${shown} of ${rows.length}` : "";
  }
  field.addEventListener("input", filter);
  control.hidden = false;
  filter(); // a browser may have kept the text of the field when it loads the page again
}
