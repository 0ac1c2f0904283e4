// Tables that are sorted, searched and turned page by page; the address holds their state.
const PAGE_ROWS = 50;
const listOrders = {}; // by section: the rows as last shown, for previous and next

// A column: {key, title, value(i) -> number or string, cell(i) -> what is shown, words, hint}; one of
// words is read from the left and sorted from the first on.
// A table: {section, title, noun, columns, count, text(i), href(i), number(i), has(i, number), sort, down}.
function sortableTable(table, state) {
  const shown = shownFirst(table, state);
  const search = searchBox(table, shown, () => update(true));
  const found = el("p", {class: "quiet"});
  const before = el("button", {type: "button", "data-turn": "-1", on: {click: () => turn(-1)}}, "‹", el("span", {class: "sr"}, "previous page"));
  const after = el("button", {type: "button", "data-turn": "1", on: {click: () => turn(1)}}, "›", el("span", {class: "sr"}, "next page"));
  const where = el("span", {});
  const pager = el("div", {class: "pager", role: "group", "aria-label": "Pages of the table"}, before, where, after);
  const heads = table.columns.map((column) => headCell(column, shown, () => sortBy(column)));
  const body = el("tbody");
  const scroller = el("div", {class: "scroll", tabindex: "0", role: "region", "aria-label": `Table of ${table.noun}s`},
    el("table", {class: "sortable"}, el("caption", {class: "sr"}, table.title), el("thead", {}, el("tr", {}, heads)), body));
  let order = [];

  function sortBy(column) {
    shown.down = shown.sort === column.key ? !shown.down : !column.words;
    shown.sort = column.key;
    shown.page = 0;
    update(true);
  }

  function turn(by) {
    const last = Math.ceil(order.length / PAGE_ROWS) - 1;
    const page = Math.min(last, Math.max(0, shown.page + by));
    if (page === shown.page) return;
    shown.page = page;
    update(false);
    scroller.scrollIntoView({block: "nearest"});
    announce(where.textContent);
  }

  function update(anew) {
    if (anew) order = sortedRows(table, shown);
    listOrders[table.section] = order.map(table.number);
    const pages = Math.max(1, Math.ceil(order.length / PAGE_ROWS));
    shown.page = Math.min(shown.page, pages - 1);
    const rows = order.slice(shown.page * PAGE_ROWS, (shown.page + 1) * PAGE_ROWS).map((i) => tableRow(table, i));
    body.replaceChildren(...(rows.length ? rows : [el("tr", {}, el("td", {class: "empty", colspan: table.columns.length}, "Nothing matches."))]));
    found.textContent = saysFound(table, shown, order.length);
    where.textContent = `Page ${shown.page + 1} of ${pages}`;
    pager.hidden = pages === 1;
    before.disabled = shown.page === 0;
    after.disabled = shown.page === pages - 1;
    heads.forEach((head, i) => markSorted(head, table.columns[i], shown));
    keepState(table, shown);
    if (anew && document.activeElement === search) announce(found.textContent);
  }

  update(true);
  return [el("div", {class: "controls", role: "search"}, search, found, pager), searchHelp(table), scroller];
}

// The order, search and page that an address asks for.
function shownFirst(table, state) {
  return {
    sort: table.columns.some((column) => column.key === state.sort) ? state.sort : table.sort,
    down: state.down === undefined ? table.down : state.down === "1",
    query: state.q ?? "",
    page: Number(state.page ?? 1) - 1 || 0,
  };
}

function searchBox(table, shown, update) {
  const search = el("input", {
    type: "search", id: "search", autocomplete: "off", spellcheck: "false", value: shown.query,
    placeholder: `Search ${table.noun}s`, "aria-label": `Search ${table.noun}s`, "aria-describedby": "search-help",
    on: {input: () => { shown.query = search.value; shown.page = 0; update(); }},
  });
  return search;
}

function saysFound(table, shown, count) {
  return shown.query ? `${formatCount(count)} of ${plural(table.count, table.noun)}` : plural(table.count, table.noun);
}

function searchHelp(table) {
  const searched = table.columns.filter((column) => !["number", "rank"].includes(column.key) && isNumeric(column));
  const keys = searched.slice(0, 3).map((column) => column.key);
  const example = searched.find((column) => !column.words);
  const byValue = example ? `, or ${example.key}${example.example ?? "<0.1"} by value (${keys.join(", ")}${searched.length > 3 ? " …" : ""})` : "";
  return el("p", {class: "quiet", id: "search-help"}, `Finds ${table.text ? "labels, and " : ""}#12 by number${byValue}.`);
}

function isNumeric(column) {
  return column.value !== undefined && typeof column.value(0) === "number";
}

function headCell(column, shown, sort) {
  const content = column.value
    ? el("button", {type: "button", title: column.hint, on: {click: sort}}, column.title)
    : el("span", {}, column.title);
  return el("th", {scope: "col", class: column.words ? "text" : null}, content);
}

function markSorted(head, column, shown) {
  if (column.key === shown.sort) head.setAttribute("aria-sort", shown.down ? "descending" : "ascending");
  else head.removeAttribute("aria-sort");
}

function tableRow(table, i) {
  const cells = table.columns.map((column) => {
    const content = column.cell(i);
    const kind = column.words ? "text" : null;
    if (!column.head) return el("td", {class: kind}, content);
    const href = table.href(i);
    return el("th", {scope: "row", class: kind}, href ? el("a", {href, "data-row": true}, content) : content);
  });
  return el("tr", {}, cells);
}

function sortedRows(table, shown) {
  const keeps = rowFilter(table, shown.query);
  const rows = [];
  for (let i = 0; i < table.count; i++) if (keeps(i)) rows.push(i);
  const column = table.columns.find((candidate) => candidate.key === shown.sort);
  if (!column) return rows;
  const values = new Map(rows.map((i) => [i, column.value(i)]));
  const sign = shown.down ? -1 : 1;
  return rows.sort((a, b) => compare(values.get(a), values.get(b), sign) || a - b);
}

// Unknown values come last, whichever way the others go.
function compare(a, b, sign) {
  if (typeof a === "string") return sign * a.localeCompare(b, "en", {numeric: true});
  if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b);
  return sign * (a - b);
}

// Words are parts of labels, or whole numbers of rows; "#12" is just the number, "lds<0.2" a value.
function rowFilter(table, query) {
  const has = table.has ?? ((i, number) => table.number(i) === number);
  const tests = query.trim().toLowerCase().split(/\s+/).filter(Boolean).map((word) => {
    const asked = /^([a-z0-9²-]+)(<=|>=|<|>|=)(-?[\d.]+(?:e-?\d+)?)$/.exec(word.replace(MINUS, "-"));
    const column = asked && table.columns.find((candidate) => candidate.key === asked[1] && candidate.value);
    if (column && isNumeric(column)) return (i) => compares(column.value(i), asked[2], Number(asked[3]));
    const [, number] = /^#(\d+)$/.exec(word) ?? [];
    if (number !== undefined) return (i) => has(i, Number(number));
    return (i) => (table.text && table.text(i).toLowerCase().includes(word)) || (/^\d+$/.test(word) && has(i, Number(word)));
  });
  return (i) => tests.every((test) => test(i));
}

function compares(value, sign, limit) {
  switch (sign) {
    case "<": return value < limit;
    case ">": return value > limit;
    case "<=": return value <= limit;
    case ">=": return value >= limit;
    default: return value === limit;
  }
}

function keepState(table, shown) {
  const state = new URLSearchParams();
  if (shown.sort !== table.sort || shown.down !== table.down) {
    state.set("sort", shown.sort);
    state.set("down", shown.down ? "1" : "0");
  }
  if (shown.query) state.set("q", shown.query);
  if (shown.page) state.set("page", shown.page + 1);
  const text = state.toString();
  const hash = `#${table.section}${text ? `?${text}` : ""}`;
  if (location.hash !== hash) history.replaceState(history.state, "", hash);
}
