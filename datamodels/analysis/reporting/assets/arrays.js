// The content of the page, arrays unpacked on first use: most are never looked at.
const ARRAY_TYPES = {f32: Float32Array, i32: Int32Array, u16: Uint16Array};

function unpackArray(packed) {
  const bytes = Uint8Array.from(atob(packed.base64), (character) => character.charCodeAt(0));
  const array = new ARRAY_TYPES[packed.type](bytes.buffer);
  array.width = packed.shape.length > 1 ? packed.shape[1] : 1;
  return array;
}

function isPacked(value) {
  return value !== null && typeof value === "object" && "base64" in value && "shape" in value;
}

// An object whose packed arrays turn into typed arrays when they are first asked for.
function lazily(content) {
  if (Array.isArray(content)) return content.map(lazily);
  if (content === null || typeof content !== "object") return content;
  for (const [name, value] of Object.entries(content)) {
    if (isPacked(value)) {
      Object.defineProperty(content, name, {
        configurable: true,
        enumerable: true,
        get() {
          const array = unpackArray(value);
          Object.defineProperty(content, name, {value: array, enumerable: true});
          return array;
        },
      });
    } else if (value !== null && typeof value === "object" && typeof value[0] !== "string") {
      content[name] = lazily(value);
    }
  }
  return content;
}

const report = lazily(JSON.parse(document.getElementById("payload").textContent));

// Where each target and each training example with a page stands in the arrays.
const targetPlace = new Map(Array.from(report.targets.index, (target, place) => [target, place]));
const examplePlace = new Map(Array.from(report.examples.detailed, (example, place) => [example, place]));
const exampleCount = report.examples.columns.targets.length;

function row(array, place) {
  return array.subarray(place * array.width, (place + 1) * array.width);
}

// The first k of a row of examples, or the last k, with their weights; -1 stands for nobody.
function ranked(members, weights, place, half) {
  const k = members.width / 2;
  const start = half === "up" ? 0 : k;
  const found = [];
  for (let i = start; i < start + k; i++) {
    const member = row(members, place)[i];
    if (member >= 0) found.push({member, weight: row(weights, place)[i]});
  }
  return found;
}

function targetName(target) {
  const place = targetPlace.get(target);
  return report.targets.names && place !== undefined ? report.targets.names[place] : null;
}

function exampleName(example) {
  return report.examples.names ? report.examples.names[example] : null;
}
