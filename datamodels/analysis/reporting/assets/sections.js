// The sections: what stands behind the links of the navigation, but for the overview.
function heading(text) {
  return el("h1", {tabindex: "-1"}, text);
}

function leftOut(...sections) {
  return sections.filter((name) => report.remedies[name]).map((name) => el("p", {class: "note"}, report.remedies[name]));
}

function fillOverview() {
  const charts = [];
  if (report.all_lds) charts.push(histogram("LDS of the targets", report.all_lds, "LDS", report.score.lds));
  if (report.curve) charts.push(curveChart(report.curve));
  document.getElementById("overview-charts").append(...charts.filter(Boolean));
}

const TARGET_COLUMNS = {
  lds: {title: "LDS", hint: "rank correlation of predicted and actual outputs, models scored on", format: formatScore},
  r2: {title: "R²", hint: "share of the outputs' variance that is predicted, models scored on", format: formatScore},
  spread: {title: "Spread", hint: "standard deviation of the output over models scored on", format: formatNumber},
  mean: {title: "Mean", hint: "mean output of models scored on", format: formatNumber},
  nonzero: {title: "Non-zeros", hint: "training examples of non-zero weight", format: formatCount},
  lambda: {title: "Lambda", hint: "penalty of the fit", format: formatNumber},
  bias: {title: "Bias", hint: "predicted output of a model trained on nothing", format: formatNumber},
};

const EXAMPLE_COLUMNS = {
  targets: {title: "Targets", hint: "targets on which it has a non-zero weight", format: formatCount},
  raises: {title: "Raises", hint: "sum of its positive weights", format: formatNumber},
  lowers: {title: "Lowers", hint: "sum of its negative weights", format: formatNumber},
  largest: {title: "Largest", hint: "size of its largest weight", format: formatNumber},
};

// What the columns mean, for those who cannot hover over their heads.
function meanings(columns, known) {
  const rows = Object.entries(known).filter(([key]) => key in columns);
  return el("details", {class: "meanings"}, el("summary", {}, "What the columns mean"),
    el("dl", {}, rows.flatMap(([, {title, hint}]) => [el("dt", {}, title), el("dd", {}, hint)])));
}

function numberColumns(columns, known) {
  return Object.entries(known).filter(([key]) => key in columns).map(([key, {title, hint, format}]) => {
    const values = columns[key];
    return {key, title, hint, value: (i) => values[i], cell: (i) => format(values[i])};
  });
}

function labelColumn(names, title = "Label") {
  return {key: "label", title, words: true, value: (i) => names(i), cell: (i) => names(i)};
}

function pictureColumn(part, member) {
  return {key: "picture", title: pictureTitle(part), words: true, cell: (i) => picture(part, member(i), IN_TABLES, "")};
}

function targetsSection(state) {
  const {index, names, columns} = report.targets;
  const all = [{key: "number", title: "Target", head: true, words: true, value: (i) => index[i], cell: (i) => `#${index[i]}`}];
  if (hasPictures("test")) all.push(pictureColumn("test", (i) => index[i]));
  if (names) all.push(labelColumn((i) => names[i]));
  all.push(...numberColumns(columns, TARGET_COLUMNS));
  const some = index.length < report.n_targets
    ? `${formatCount(index.length)} of the ${plural(report.n_targets, "target")} of these datamodels have pages here.` : null;
  return [
    heading("Targets"),
    el("p", {class: "explain"}, "Each target is one output, such as the margin of a test example, and has a linear model of its own. ", some),
    meanings(columns, TARGET_COLUMNS),
    ...sortableTable({
      section: "targets", title: "Targets", noun: "target", columns: all, count: index.length, sort: "number", down: false,
      number: (i) => index[i], href: (i) => `#target=${index[i]}`, text: names ? (i) => names[i] : null,
    }, state),
  ];
}

function examplesSection(state) {
  const {names, columns, cluster} = report.examples;
  const all = [{key: "number", title: "Example", head: true, words: true, value: (i) => i, cell: (i) => `#${i}`}];
  if (hasPictures("train")) all.push(pictureColumn("train", (i) => i));
  if (names) all.push(labelColumn((i) => names[i]));
  all.push(...numberColumns(columns, EXAMPLE_COLUMNS));
  if (cluster) all.push({key: "cluster", title: "Cluster", value: (i) => (cluster[i] < 0 ? NaN : cluster[i]), cell: (i) => (cluster[i] < 0 ? "–" : cluster[i])});
  return [
    heading("Training examples"),
    el("p", {class: "explain"}, "What each training example does to all targets together, in units of the output."),
    meanings(columns, EXAMPLE_COLUMNS),
    ...sortableTable({
      section: "examples", title: "Training examples", noun: "training example", columns: all, count: exampleCount,
      sort: "largest", down: true, number: (i) => i, href: (i) => pageOf("train", i), text: names ? (i) => names[i] : null,
    }, state),
  ];
}

function figureColumns(columns) {
  return Object.entries(columns).map(([key, values]) => ({
    key, title: key[0].toUpperCase() + key.slice(1), value: (i) => values[i], cell: (i) => formatNumber(values[i])}));
}

function mislabelledSection(state) {
  const {examples, columns, note} = report.mislabelled;
  const all = [
    {key: "rank", title: "Rank", value: (i) => i + 1, cell: (i) => String(i + 1)},
    {key: "number", title: "Example", head: true, words: true, value: (i) => examples[i], cell: (i) => `#${examples[i]}`},
  ];
  if (hasPictures("train")) all.push(pictureColumn("train", (i) => examples[i]));
  const name = (i) => exampleName(examples[i]) ?? "";
  if (report.examples.names) all.push(labelColumn(name));
  all.push(...figureColumns(columns));
  return [
    heading("Likely mislabelled training examples"),
    el("p", {class: "explain"}, note),
    ...sortableTable({
      section: "mislabelled", title: "Likely mislabelled training examples", noun: "training example", columns: all,
      count: examples.length, sort: "rank", down: false, number: (i) => examples[i],
      href: (i) => pageOf("train", examples[i]), text: report.examples.names ? name : null,
    }, state),
  ];
}

function leaksSection(state) {
  const parts = [heading("Likely leaks"), ...leftOut("leaks")];
  if (!report.leaks) return parts;
  const {examples, targets, columns, note} = report.leaks;
  const all = [
    {key: "rank", title: "Rank", value: (i) => i + 1, cell: (i) => String(i + 1)},
    {key: "target", title: "Target", head: true, words: true, value: (i) => targets[i], cell: (i) => `#${targets[i]}`},
  ];
  if (hasPictures("test")) all.push(pictureColumn("test", (i) => targets[i]));
  if (report.targets.names) all.push({...labelColumn((i) => targetName(targets[i]) ?? ""), key: "target-label"});
  all.push({key: "example", title: "Example", words: true, value: (i) => examples[i], cell: (i) => linkTo("train", examples[i])});
  if (hasPictures("train")) all.push({...pictureColumn("train", (i) => examples[i]), key: "example-picture"});
  if (report.examples.names) all.push({...labelColumn((i) => exampleName(examples[i]), "Its label"), key: "example-label"});
  all.push(...figureColumns(columns));
  const text = (i) => `${targetName(targets[i]) ?? ""} ${exampleName(examples[i]) ?? ""}`;
  return [
    ...parts,
    el("p", {class: "explain"}, "Pairs of a target and a training example whose weight is so far beyond the target's others that fewer than one such pair was expected by chance: copies and near-duplicates come first."),
    el("p", {class: "explain"}, note),
    ...sortableTable({
      section: "leaks", title: "Likely leaks", noun: "pair", columns: all, count: examples.length, sort: "rank", down: false,
      number: (i) => targets[i], has: (i, number) => targets[i] === number || examples[i] === number,
      href: (i) => pageOf("test", targets[i]), text,
    }, state),
  ];
}

function linkTo(part, index) {
  const href = pageOf(part, index);
  return href ? el("a", {href}, `#${index}`) : `#${index}`;
}
