// Which section the address names, and what keys do.
const SECTIONS = {
  targets: targetsSection, examples: examplesSection, components: componentsSection,
  mislabelled: mislabelledSection, leaks: leaksSection,
};
const SHORTCUTS = {o: "overview", t: "targets", e: "examples", c: "components", m: "mislabelled", l: "leaks"};
const PAGES = {target: ["targets", targetPage], example: ["examples", examplePage]};
const lastAddress = {}; // of each section, with its search and order
const scrolls = new Map(); // how far down each address was left
let address = "";
let awaitsSection = false; // "g" was pressed

function backTo(section) {
  return lastAddress[section] ?? `#${section}`;
}

function showAddress(first) {
  if (address) scrolls.set(address, lastScroll);
  address = location.hash || "#overview";
  const [, name, number, query] = /^#([a-z-]+)(?:=(\d+))?(?:\?(.*))?$/.exec(address) ?? [null, "overview"];
  const view = document.getElementById("view");
  const overview = document.getElementById("overview");
  let section = "overview";
  if (name in PAGES && number !== undefined) {
    section = PAGES[name][0];
    view.replaceChildren(...PAGES[name][1](Number(number)).filter(Boolean));
  } else if (name in SECTIONS) {
    section = name;
    view.replaceChildren(...SECTIONS[name](Object.fromEntries(new URLSearchParams(query ?? ""))).filter(Boolean));
  } else if (!first && name !== "overview") {
    return; // an anchor within the page, such as the link that skips the navigation
  }
  overview.hidden = section !== "overview";
  view.hidden = !overview.hidden;
  for (const link of document.querySelectorAll("#sections a")) {
    if (link.hash === `#${section}`) {
      link.setAttribute("aria-current", name === section ? "page" : "true");
      link.scrollIntoView({block: "nearest", inline: "nearest"});
    } else link.removeAttribute("aria-current");
  }
  const title = (overview.hidden ? view : overview).querySelector("h1");
  document.title = overview.hidden ? `${title.textContent} · ${report.title}` : report.title;
  if (first) return;
  title.focus({preventScroll: true});
  window.scrollTo(0, name in SECTIONS ? scrolls.get(location.hash) ?? 0 : 0);
}

let lastScroll = 0;
window.addEventListener("scroll", () => { lastScroll = window.scrollY; }, {passive: true});
window.addEventListener("hashchange", () => showAddress(false));
document.addEventListener("click", (event) => {
  if (event.target.closest("a[href^='#']")) rememberAddress();
});

function rememberAddress() {
  const name = /^#([a-z]+)/.exec(location.hash)?.[1];
  if (name in SECTIONS) lastAddress[name] = location.hash;
  address = location.hash || "#overview"; // searching and sorting changed it silently
  lastScroll = window.scrollY;
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  try {
    localStorage.setItem("datamodels-report-theme", theme);
  } catch { /* pages from disk may have no storage: then it lasts as long as the page */ }
}

function switchTheme() {
  const dark = document.documentElement.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  setTheme(dark === "dark" ? "light" : "dark");
  announce(`${document.documentElement.dataset.theme} colours`);
}

function restoreTheme() {
  try {
    const theme = localStorage.getItem("datamodels-report-theme");
    if (theme === "dark" || theme === "light") document.documentElement.dataset.theme = theme;
  } catch { /* as above */ }
}

function go(hash) {
  rememberAddress();
  location.hash = hash;
}

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

function handleKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || document.getElementById("keys").open) return;
  const search = event.target.id === "search" ? event.target : null;
  if (search && !["ArrowDown", "Escape"].includes(event.key)) return;
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
    case "ArrowLeft": turnOrStep(-1); break;
    case "ArrowRight": turnOrStep(1); break;
    case "ArrowDown": if (moveRow(1)) event.preventDefault(); break;
    case "ArrowUp": if (document.activeElement.closest("tr") && moveRow(-1)) event.preventDefault(); break;
    case "Escape": if (search) { search.value = ""; search.dispatchEvent(new Event("input")); } break;
    default:
  }
}

restoreTheme();
fillOverview();
showAddress(true);
document.addEventListener("keydown", handleKey);
document.getElementById("theme-button").addEventListener("click", switchTheme);
document.getElementById("keys-button").addEventListener("click", () => document.getElementById("keys").showModal());
document.documentElement.dataset.ready = "true";
