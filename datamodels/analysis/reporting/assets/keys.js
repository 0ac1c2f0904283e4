// What keys do.
const SHORTCUTS = {o: "overview", t: "targets", e: "examples", c: "components", m: "mislabelled", l: "leaks"};
let awaitsSection = false; // "g" was pressed

function focusSearch() {
  if (!document.getElementById("search")) go("#targets");
  requestAnimationFrame(() => setTimeout(() => {
    const search = document.getElementById("search");
    search?.focus();
    search?.select();
  }));
}

// From one row of the table to another; from elsewhere to the first.
function moveRow(by) {
  const rows = Array.from(document.querySelectorAll("[data-row]"));
  if (rows.length === 0) return false;
  const row = document.activeElement.closest("tr")?.querySelector("[data-row]");
  const at = rows.indexOf(row);
  if (at === 0 && by < 0) {
    document.getElementById("search").focus();
    return true;
  }
  rows[at < 0 ? 0 : Math.min(rows.length - 1, at + by)].focus();
  return true;
}

function turnOrStep(by) {
  const step = document.querySelector(`#view a[rel="${by < 0 ? "prev" : "next"}"]`);
  if (step) go(step.hash);
  else document.querySelector(`#view [data-turn="${by}"]`)?.click();
}

// Within what is wider than its place, Left and Right scroll: the browser's own doing.
function scrollsSideways(element) {
  const scroller = element.closest(".scroll");
  return scroller !== null && scroller.scrollWidth > scroller.clientWidth;
}

function handleKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || document.getElementById("keys").open) return;
  if (event.target.closest("select")) return; // which has uses of its own for them
  const search = event.target.id === "search" ? event.target : null;
  if (search && !["ArrowDown", "Escape"].includes(event.key)) return;
  if (event.key.length === 1 && !characterKeysAllowed()) return;
  if (awaitsSection && event.key in SHORTCUTS) {
    awaitsSection = false;
    go(`#${SHORTCUTS[event.key]}`);
    return;
  }
  awaitsSection = event.key === "g";
  switch (event.key) {
    case "/": event.preventDefault(); focusSearch(); break;
    case "?": document.getElementById("keys").showModal(); break;
    case "d": switchTheme(); break;
    case "ArrowLeft": if (!scrollsSideways(event.target)) turnOrStep(-1); break;
    case "ArrowRight": if (!scrollsSideways(event.target)) turnOrStep(1); break;
    case "ArrowDown": if (moveRow(1)) event.preventDefault(); break;
    case "ArrowUp": if (document.activeElement.closest("tr") && moveRow(-1)) event.preventDefault(); break;
    case "Escape": if (search) { search.value = ""; search.dispatchEvent(new Event("input")); } break;
    default:
  }
}
