// The pages of one target, and of one training example.
function targetPage(target) {
  const place = targetPlace.get(target);
  if (place === undefined) return missingPage("target", target, "targets", "--report.targets says which targets have pages.");
  const {names, columns, examples, weights} = report.targets;
  const name = names ? names[place] : null;
  const title = `Target ${target}`;
  const helpful = ranked(examples, weights, place, "up");
  const harmful = ranked(examples, weights, place, "down");
  return [
    pageHead("targets", "Targets", title, name, steps("targets", Array.from(report.targets.index), target, "#target=")),
    el("div", {class: report.scatter ? "hero" : "hero plain"},
      el("div", {class: "subject"}, picture("test", target, WHOLE, `${title}${name === null ? "" : `, label ${name}`}`)),
      el("div", {}, figures(columns, TARGET_COLUMNS, place), reading(columns, place, helpful, harmful)),
      report.scatter ? scatterChart(place) : null),
    ...leftOut("score"),
    report.examples.names && name !== null ? frameLegend("the target's label") : null,
    weightLists("train", name,
      {title: "Most helpful training examples", words: "raise the output", found: helpful},
      {title: "Most harmful training examples", words: "lower the output", found: harmful}),
  ];
}

function examplePage(example) {
  const place = examplePlace.get(example);
  if (place === undefined) return missingPage("training example", example, "examples", "Examples of small weights have none.");
  const {columns, cluster, targets, weights} = report.examples;
  const name = exampleName(example);
  const title = `Training example ${example}`;
  const raised = ranked(targets, weights, place, "up");
  const lowered = ranked(targets, weights, place, "down");
  return [
    pageHead("examples", "Training examples", title, name, steps("examples", Array.from(report.examples.detailed), example, "#example=")),
    el("div", {class: "hero plain"},
      el("div", {class: "subject"}, picture("train", example, WHOLE, `${title}${name === null ? "" : `, label ${name}`}`)),
      el("div", {}, figures(columns, EXAMPLE_COLUMNS, example), remarks(example, cluster))),
    report.targets.names && name !== null ? frameLegend("this example's label") : null,
    weightLists("test", name,
      {title: "Targets it raises most", words: "with it in the training set, the output is larger", found: raised},
      {title: "Targets it lowers most", words: "with it in the training set, the output is smaller", found: lowered}),
  ];
}

function pageHead(section, crumb, title, name, links) {
  return el("div", {},
    el("p", {class: "crumb"}, el("a", {href: backTo(section)}, `← ${crumb}`)),
    el("div", {class: "head"}, el("h1", {tabindex: "-1"}, title, name === null ? null : el("span", {class: "label"}, ` label ${name}`)), links));
}

function figures(columns, known, place) {
  return el("dl", {class: "figures small"}, Object.entries(known).filter(([key]) => key in columns).map(([key, {title, hint, format}]) =>
    el("div", {title: hint}, el("dt", {}, title), el("dd", {}, el("b", {}, format(columns[key][place]))))));
}

// What the figures of a target say, in a sentence or two.
function reading(columns, place, helpful, harmful) {
  const sentences = [`Of ${plural(exampleCount, "training example")}, ${formatCount(columns.nonzero[place])} have a weight.`];
  const [first, second] = [helpful[0], harmful[0]];
  if (first) sentences.push(`With #${first.member} in the training set the output is ${formatNumber(first.weight)} larger.`);
  if (second) sentences.push(`With #${second.member} it is ${formatNumber(-second.weight)} smaller.`);
  if (columns.r2 && Number.isFinite(columns.r2[place])) {
    const share = Math.max(0, columns.r2[place]);
    sentences.push(`Together they predict ${formatPercent(share)} of the variance of the output over the models scored on.`);
  }
  return el("p", {class: "quiet"}, sentences.join(" "));
}

// Two lists side by side, whose bars are on one scale.
function weightLists(part, subject, ...lists) {
  const largest = Math.max(...lists.flatMap(({found}) => found.map(({weight}) => Math.abs(weight))));
  return el("div", {class: "two"}, lists.map(({title, words, found}) => el("section", {},
    el("h2", {}, title), el("p", {class: "quiet"}, found.length ? `They ${words}; in order of weight.`.replace("They with", "With") : "None: no weight has this sign."),
    found.length ? weightedTiles(part, found, subject, largest) : null)));
}

function frameLegend(what) {
  return el("p", {class: "legend"},
    el("span", {}, el("i", {"aria-hidden": "true"}), `solid frame: ${what}`),
    el("span", {}, el("i", {class: "other", "aria-hidden": "true"}), "dashed frame: another label"));
}

function remarks(example, cluster) {
  const found = [];
  const rank = report.mislabelled ? report.mislabelled.examples.indexOf(example) : -1;
  if (rank >= 0) found.push(el("li", {}, el("a", {href: "#mislabelled"}, `${rank + 1} on the list of likely wrong labels`)));
  const leak = report.leaks ? report.leaks.examples.indexOf(example) : -1;
  if (leak >= 0) found.push(el("li", {}, el("a", {href: "#leaks"}, `${leak + 1} on the list of likely leaks`)));
  if (cluster && cluster[example] >= 0) found.push(el("li", {}, el("a", {href: `#components?${new URLSearchParams({q: `#${example}`})}`}, `cluster ${cluster[example]}`)));
  return found.length ? el("ul", {class: "chips"}, found) : null;
}

// Previous and next in the order that the table was last seen in.
function steps(section, all, current, prefix) {
  const listed = (listOrders[section] ?? []).filter((member) => (section === "targets" ? targetPlace : examplePlace).has(member));
  const order = listed.includes(current) ? listed : all;
  const at = order.indexOf(current);
  const link = (step, text, rel) => order[at + step] === undefined ? null
    : el("a", {href: `${prefix}${order[at + step]}`, rel}, text);
  return el("div", {class: "steps"}, link(-1, "← Previous", "prev"), link(1, "Next →", "next"));
}

function missingPage(what, number, section, why) {
  return [heading(`No page for ${what} ${number}`), el("p", {}, `${why} `, el("a", {href: `#${section}`}, "See those that have one."))];
}
