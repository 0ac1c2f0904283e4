// Which section the address names.
const SECTIONS = {
  targets: targetsSection, examples: examplesSection, components: componentsSection,
  mislabelled: mislabelledSection, leaks: leaksSection,
};
const PAGES = {target: ["targets", targetPage], example: ["examples", examplePage]};
const lastAddress = {}; // of each section, with its search and order
const scrolls = new Map(); // how far down each address was left
let address = "";

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
  } else {
    view.replaceChildren(); // keys act on what is there, hidden or not
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

function go(hash) {
  rememberAddress();
  location.hash = hash;
}

restoreTheme();
restoreCharacterKeys();
fillOverview();
showAddress(true);
document.addEventListener("keydown", handleKey);
document.getElementById("theme-button").addEventListener("click", switchTheme);
document.getElementById("keys-button").addEventListener("click", () => document.getElementById("keys").showModal());
document.getElementById("character-keys").addEventListener("change", (event) => allowCharacterKeys(event.target.checked));
document.documentElement.dataset.ready = "true";
