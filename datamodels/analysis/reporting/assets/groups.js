// Components and clusters: groups of training examples, one below the other, to search and order.
function componentsSection(state) {
  const groups = [...(report.components ?? []).map(componentGroup), ...(report.clusters ?? []).map(clusterGroup)];
  return [
    heading("Components and clusters"),
    ...leftOut("components", "clusters"),
    report.components ? el("p", {class: "explain"}, "Principal components of the training examples' weights, each example's brought to length 1. The two ends of a component are groups that pull outputs in opposite directions; below them are the targets that they pull most.") : null,
    report.clusters ? el("p", {class: "explain"}, "Clusters are of training examples that act alike.") : null,
    ...(groups.length ? orderedGroups(groups, state) : []),
  ];
}

const GROUP_ORDERS = [
  {sort: "found", down: false, words: "components, then clusters"},
  {sort: "size", down: true, words: "largest clusters first"},
  {sort: "size", down: false, words: "smallest clusters first"},
  {sort: "label", down: false, words: "by commonest label"},
];

function orderedGroups(groups, state) {
  const table = {
    section: "components", noun: "group", count: groups.length, sort: "found", down: false,
    columns: [
      {key: "size", value: (i) => groups[i].size, example: ">100"},
      {key: "variance", value: (i) => groups[i].explained},
      {key: "label", value: (i) => groups[i].label, words: true},
    ],
    text: (i) => groups[i].text, has: (i, number) => groups[i].has(number),
  };
  const shown = shownFirst(table, state);
  const search = searchBox(table, shown, update);
  const found = el("p", {class: "quiet"});
  const box = el("div");
  const orders = GROUP_ORDERS.filter(({sort}) => (sort !== "label" || report.examples.names) && (sort !== "size" || report.clusters));
  const order = el("select", {id: "order", on: {change: () => { Object.assign(shown, orders[order.selectedIndex]); update(); }}},
    orders.map(({sort, down, words}) => el("option", {selected: sort === shown.sort && down === shown.down}, words)));

  function update() {
    const rows = sortedRows(table, shown);
    box.replaceChildren(...(rows.length ? rows.map((i) => groups[i].card()) : [el("p", {class: "empty"}, "Nothing matches.")]));
    found.textContent = saysFound(table, shown, rows.length);
    keepState(table, shown);
    if (document.activeElement === search) announce(found.textContent);
  }

  update();
  const ordering = el("label", {class: "order"}, "Order ", order);
  return [el("div", {class: "controls", role: "search"}, search, found, ordering), searchHelp(table), box];
}

function componentGroup(component, i) {
  const examples = [...component.low, ...component.high];
  const members = new Set([...examples, ...component.low_targets, ...component.high_targets]);
  const labels = report.examples.names ? examples.map(exampleName) : [];
  return {
    size: NaN, explained: component.explained, label: commonest(labels), has: (number) => members.has(number),
    text: `component ${i} ${labels.join(" ")}`, card: () => componentCard(component, i),
  };
}

function clusterGroup(cluster, i) {
  const labels = cluster.labels.map(([label]) => label);
  return {
    size: cluster.size, explained: NaN, label: labels[0] ?? "", has: (number) => report.examples.cluster[number] === i,
    text: `cluster ${i} ${labels.join(" ")}`, card: () => clusterCard(cluster, i),
  };
}

function commonest(labels) {
  const counted = new Map();
  for (const label of labels) counted.set(label, (counted.get(label) ?? 0) + 1);
  return [...counted].reduce((best, next) => (next[1] > best[1] ? next : best), ["", 0])[0];
}

function componentCard(component, i) {
  const end = (title, examples, targets) => el("div", {},
    el("h3", {}, title), tiles("train", examples, {size: 52}),
    el("h3", {}, "Targets it raises"), tiles("test", targets, {size: 52}));
  return el("section", {class: "component"},
    el("h2", {}, `Component ${i} `, el("span", {class: "quiet"}, `${formatPercent(component.explained)} of the variance`)),
    el("div", {class: "two"}, end("One end", component.low, component.low_targets), end("The other end", component.high, component.high_targets)));
}

function clusterCard(cluster, i) {
  const labels = cluster.labels.map(([label, count]) => el("li", {}, `${label} × ${formatCount(count)}`));
  return el("section", {class: "component"},
    el("h2", {}, `Cluster ${i} `, el("span", {class: "quiet"}, plural(cluster.size, "training example"))),
    labels.length ? el("ul", {class: "chips", "aria-label": "Commonest labels"}, labels) : null,
    tiles("train", cluster.members, {size: 52}),
    el("p", {}, el("a", {href: `#examples?${new URLSearchParams({q: `cluster=${i}`})}`}, `All ${formatCount(cluster.size)} of cluster ${i}, in a table`)));
}
