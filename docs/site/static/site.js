// Tables in a `sortable` container are sorted by a click on a column's name.

// A page opened from a folder may not read its neighbours, which the excerpts beside search results need.
if (typeof DOCUMENTATION_OPTIONS !== "undefined" && location.protocol === "file:") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;

// Paper is white, whatever the screen is.
const theme = document.documentElement.dataset;
window.addEventListener("beforeprint", () => { theme.before = theme.theme; theme.theme = "light"; });
window.addEventListener("afterprint", () => { theme.theme = theme.before; });

function valueOf(row, column) {
  const text = row.cells[column].textContent.trim();
  const number = parseFloat(text.replace(/,/g, ""));
  return text === "–" ? null : Number.isNaN(number) ? text : number;
}

function compare(a, b) {
  return typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));
}

function sortBy(table, column) {
  const heads = [...table.tHead.rows[0].cells];
  const rising = heads[column].getAttribute("aria-sort") !== "ascending";
  heads.forEach((head) => head.removeAttribute("aria-sort"));
  heads[column].setAttribute("aria-sort", rising ? "ascending" : "descending");
  const rows = [...table.tBodies[0].rows].map((row) => ({ row, value: valueOf(row, column) }));
  const [known, unknown] = [rows.filter((one) => one.value !== null), rows.filter((one) => one.value === null)];
  known.sort((a, b) => (rising ? 1 : -1) * compare(a.value, b.value));
  table.tBodies[0].append(...[...known, ...unknown].map((one) => one.row)); // a dash is last either way
}

document.addEventListener("DOMContentLoaded", () => {
  document.querySelectorAll(".sortable table").forEach((table) => {
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      const button = document.createElement("button");
      button.append(...head.childNodes);
      button.addEventListener("click", () => sortBy(table, column));
      head.append(button);
    });
  });
});
