"use strict";
// Hide and show kinds.
for (const button of document.querySelectorAll(".legend button")) {
  button.addEventListener("click", () => {
    const shown = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", shown);
    const drawn = button.closest("section").querySelectorAll(`svg [data-kind="${button.dataset.kind}"]`);
    for (const mark of drawn) mark.style.display = shown ? "" : "none";
  });
}

// Say what is under the pointer.
const tip = document.getElementById("tip");
document.addEventListener("pointermove", (event) => {
  const mark = event.target.closest?.("[data-tip]");
  tip.hidden = !mark;
  if (!mark) return;
  tip.textContent = mark.dataset.tip;
  const left = Math.min(event.clientX + 12, innerWidth - tip.offsetWidth - 8);
  tip.style.transform = `translate(${Math.max(8, left)}px, ${event.clientY + 16}px)`;
});

// Sort and filter the table.
const table = document.querySelector("#tensors table");
const body = table.tBodies[0];
table.querySelectorAll("th button").forEach((button, column) => {
  button.addEventListener("click", () => {
    const heading = button.parentElement;
    const down = heading.getAttribute("aria-sort") === "ascending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", down ? "descending" : "ascending");
    const compare = (a, b) => {
      const [x, y] = [a, b].map((row) => row.cells[column]);
      const order = "v" in x.dataset ? x.dataset.v - y.dataset.v
        : x.textContent.localeCompare(y.textContent, "en", { numeric: true });
      return down ? -order : order;
    };
    body.append(...[...body.rows].sort(compare));
  });
});
document.getElementById("filter").addEventListener("input", (event) => {
  const wanted = event.target.value.toLowerCase();
  for (const row of body.rows) row.hidden = !row.cells[0].textContent.toLowerCase().includes(wanted);
});
