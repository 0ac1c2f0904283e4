// Charts as SVG, which the page scales a little. Each says in words what it shows.
const WIDE = 480;
const SQUARE = 360;
const BOX = {left: 52, right: 12, top: 12, bottom: 40};

function chart(title, words, [width, height], content, more = null) {
  const drawing = svg("svg", {viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": words}, content);
  return el("figure", {class: "chart"}, el("figcaption", {}, title), drawing, more);
}

function niceTicks(low, high, count = 5) {
  const raw = (high - low || 1) / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((n) => n * power).find((n) => n >= raw * 0.999);
  const ticks = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) ticks.push(i * step);
  return ticks;
}

const tickNumbers = new Intl.NumberFormat("en", {maximumSignificantDigits: 6});

function formatTick(value) {
  return tickNumbers.format(value + 0).replace("-", MINUS); // + 0: no minus before a zero
}

// Scales of both axes, and the axes with their names.
function frame(x, y, [width, height]) {
  const px = (value) => BOX.left + ((value - x.low) / (x.high - x.low || 1)) * (width - BOX.left - BOX.right);
  const py = (value) => height - BOX.bottom - ((value - y.low) / (y.high - y.low || 1)) * (height - BOX.top - BOX.bottom);
  const bottom = height - BOX.bottom;
  const marks = [];
  for (const tick of x.ticks ?? niceTicks(x.low, x.high)) {
    marks.push(svg("text", {x: px(tick), y: bottom + 16, "text-anchor": "middle"}, formatTick(tick)));
  }
  for (const tick of y.ticks ?? niceTicks(y.low, y.high)) {
    marks.push(
      svg("line", {class: "grid", x1: BOX.left, x2: width - BOX.right, y1: py(tick), y2: py(tick)}),
      svg("text", {x: BOX.left - 6, y: py(tick) + 4, "text-anchor": "end"}, formatTick(tick)),
    );
  }
  const middle = (BOX.top + bottom) / 2;
  marks.push(
    svg("line", {class: "axis", x1: BOX.left, x2: width - BOX.right, y1: bottom, y2: bottom}),
    svg("text", {x: (BOX.left + width - BOX.right) / 2, y: height - 6, "text-anchor": "middle"}, x.name),
    svg("text", {x: 12, y: middle, "text-anchor": "middle", transform: `rotate(-90 12 ${middle})`}, y.name),
  );
  return {px, py, marks};
}

function histogram(title, values, name, mean) {
  const finite = Array.from(values).filter(Number.isFinite);
  if (finite.length === 0) return null;
  const ticks = niceTicks(Math.min(0, ...extent(finite)), Math.max(0, ...extent(finite)), 24);
  const step = ticks.length > 1 ? ticks[1] - ticks[0] : 1;
  const low = Math.floor(extent(finite)[0] / step + 1e-9) * step;
  const bins = new Array(Math.max(1, Math.floor((extent(finite)[1] - low) / step + 1e-9) + 1)).fill(0);
  for (const value of finite) bins[Math.min(bins.length - 1, Math.floor((value - low) / step + 1e-9))]++;
  const size = [WIDE, 260];
  const high = low + bins.length * step;
  const {px, py, marks} = frame({low, high, name}, {low: 0, high: 1.12 * Math.max(...bins), name: "targets"}, size);
  const bars = bins.map((count, i) => {
    const from = low + i * step;
    const bar = svg("rect", {x: px(from) + 1, width: Math.max(1, px(from + step) - px(from) - 2), y: py(count), height: py(0) - py(count), rx: 2});
    bar.append(svg("title", {}, `${formatTick(from)} to ${formatTick(from + step)}: ${plural(count, "target")}`));
    return bar;
  });
  const at = px(mean);
  const rule = [
    svg("line", {class: "rule", x1: at, x2: at, y1: BOX.top, y2: size[1] - BOX.bottom}),
    svg("text", {class: "rule-name", x: at + (at > WIDE * 0.7 ? -6 : 6), y: BOX.top + 8, "text-anchor": at > WIDE * 0.7 ? "end" : "start"}, `mean ${formatScore(mean)}`),
  ];
  const words = `Histogram of ${name} of ${plural(finite.length, "target")}, from ${formatScore(extent(finite)[0])} to ${formatScore(extent(finite)[1])}, mean ${formatScore(mean)}`;
  return chart(title, words, size, [...marks, svg("g", {class: "bars"}, bars), ...rule]);
}

function extent(values) {
  let low = Infinity;
  let high = -Infinity;
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return [low, high];
}

// Predicted and actual outputs of one target on the models scored on.
function scatterChart(place) {
  const scatter = report.scatter;
  const [low, high] = [scatter.low[place], scatter.high[place]];
  const size = [SQUARE, SQUARE];
  const axis = {low, high};
  const {px, py, marks} = frame({...axis, name: "predicted output"}, {...axis, name: "actual output"}, size);
  const value = (level) => low + (level / 65535) * (high - low);
  const actual = row(scatter.actual, place);
  const dots = Array.from(row(scatter.predicted, place), (level, i) =>
    svg("circle", {cx: px(value(level)).toFixed(1), cy: py(value(actual[i])).toFixed(1), r: 3}));
  const diagonal = svg("line", {class: "diagonal", x1: px(low), y1: py(low), x2: px(high), y2: py(high)});
  const of = dots.length < scatter.n_models ? ` of ${formatCount(scatter.n_models)}` : "";
  const words = `Predicted against actual outputs of ${dots.length}${of} models scored on, from ${formatNumber(low)} to ${formatNumber(high)}; LDS ${formatScore(report.targets.columns.lds[place])}`;
  return chart(`Predicted and actual output`, words, size, [...marks, diagonal, svg("g", {class: "dots"}, dots)],
    el("p", {class: "quiet"}, `${dots.length}${of} models scored on, a point each.`));
}

function curveChart(curve) {
  const forecast = curve.forecast;
  const models = [...curve.n_models, ...forecast.map(([n]) => n)];
  const lows = [...curve.low, ...forecast.map(([, , low]) => low)].filter(Number.isFinite);
  const highs = [...curve.high, ...forecast.map(([, , , high]) => high), ...curve.lds].filter(Number.isFinite);
  const size = [WIDE, 260];
  const {px, py, marks} = frame(
    {low: 0, high: Math.max(...models), name: "models"},
    {low: Math.min(0, ...lows), high: Math.max(...highs), name: "LDS"}, size);
  const path = (points) => `M${points.map(([n, value]) => `${px(n).toFixed(1)} ${py(value).toFixed(1)}`).join("L")}`;
  const measured = curve.n_models.map((n, i) => [n, curve.lds[i]]);
  const band = [
    ...curve.n_models.map((n, i) => [n, curve.high[i]]), ...forecast.map(([n, , , high]) => [n, high]),
    ...forecast.map(([n, , low]) => [n, low]).reverse(), ...curve.n_models.map((n, i) => [n, curve.low[i]]).reverse(),
  ].filter(([, value]) => Number.isFinite(value));
  const lines = [svg("path", {class: "band", d: `${path(band)}Z`}), svg("path", {class: "line", d: path(measured)})];
  if (forecast.length > 0) {
    lines.push(svg("path", {class: "line forecast", d: path([measured[measured.length - 1], ...forecast.map(([n, value]) => [n, value])])}));
  }
  const dots = measured.map(([n, value]) => svg("circle", {cx: px(n), cy: py(value), r: 4}));
  const words = `Learning curve: ${measured.map(([n, value]) => `LDS ${formatScore(value)} with ${formatCount(n)} models`).join(", ")}`;
  const more = el("div", {}, curve.sentences.map((sentence) => el("p", {class: "quiet"}, sentence)), curveTable(curve));
  return chart("Learning curve", words, size, [...marks, ...lines, svg("g", {class: "dots"}, dots)], more);
}

function curveTable(curve) {
  const heads = ["Models", "LDS", "Interval", "Validation error"];
  const rows = curve.n_models.map((n, i) => el("tr", {},
    el("th", {scope: "row"}, formatCount(n)), el("td", {}, formatScore(curve.lds[i])),
    el("td", {}, Number.isFinite(curve.low[i]) ? `${formatScore(curve.low[i])} to ${formatScore(curve.high[i])}` : "–"),
    el("td", {}, curve.error[i] === null ? "–" : formatScore(curve.error[i]))));
  return el("details", {}, el("summary", {}, "As a table"),
    el("div", {class: "scroll", tabindex: "0", role: "region", "aria-label": "Table of the learning curve"}, el("table", {},
      el("thead", {}, el("tr", {}, heads.map((head) => el("th", {scope: "col"}, head)))), el("tbody", {}, rows))));
}
