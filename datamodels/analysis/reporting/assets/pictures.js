// Pictures are parts of sheets, which become styles when the first of their pictures is shown.
const pictureSets = {train: preparePictures("train"), test: preparePictures("test")};
const sheetStyles = document.head.appendChild(el("style"));
const COARSE = 2; // a pixel so many times enlarged is drawn as a square
const IN_TABLES = 40; // pixels of a picture in a table
const WHOLE = 144; // pixels of a picture on a page of its own

function preparePictures(part) {
  const pictures = report[`${part}_pictures`];
  const sprites = pictures.sprites;
  const tiles = new Map(sprites ? Array.from(sprites.members, (member, tile) => [member, tile]) : []);
  return {part, sprites, tiles, texts: pictures.texts, html: pictures.html, ready: new Set()};
}

// What a column of pictures is called.
function pictureTitle(part) {
  return pictureSets[part].tiles.size > 0 ? "Picture" : "Content";
}

function hasPictures(part) {
  const set = pictureSets[part];
  return set.tiles.size > 0 || Object.keys(set.texts).length > 0 || Object.keys(set.html).length > 0;
}

// A square of `size` pixels that shows an example; nothing where no example of the part has a picture.
// `alt` is "" where a caption says the same.
function picture(part, index, size, alt) {
  if (!hasPictures(part)) return null;
  const set = pictureSets[part];
  if (set.tiles.has(index)) return tilePicture(set, set.tiles.get(index), size, alt);
  // Words take the room they need: all of them on a page of their own, some lines elsewhere.
  const room = size >= WHOLE ? "whole" : size > IN_TABLES ? "card" : "excerpt";
  if (index in set.html) {
    const box = el("div", {class: `picture words markup ${room}`});
    box.innerHTML = set.html[index]; // made safe when the report was written
    return box;
  }
  if (index in set.texts) return el("div", {class: `picture words ${room}`}, set.texts[index]);
  return el("span", {class: "picture none", style: `width:${size}px;height:${size}px`, ...described(alt)});
}

function tilePicture(set, tile, size, alt) {
  const {width, height, columns, rows} = set.sprites;
  const scale = size / Math.max(width, height);
  const within = tile % (columns * rows);
  const name = useSheet(set, Math.floor(tile / (columns * rows)));
  const x = (within % columns) * width * scale;
  const y = Math.floor(within / columns) * height * scale;
  const style =
    `width:${width * scale}px;height:${height * scale}px;` +
    `background-size:${columns * width * scale}px ${rows * height * scale}px;` +
    `background-position:${-x}px ${-y}px`;
  return el("span", {class: `picture ${name}${scale >= COARSE ? " coarse" : ""}`, style, ...described(alt)});
}

function useSheet(set, number) {
  const name = `${set.part}-${number}`;
  if (!set.ready.has(name)) {
    set.ready.add(name);
    const sheet = document.querySelector(`[data-sheet="${name}"]`);
    const source = `data:${sheet.dataset.media};base64,${sheet.textContent.trim()}`;
    sheetStyles.append(`.sheet-${name}{background-image:url("${source}")}\n`);
  }
  return `sheet-${name}`;
}

function described(alt) {
  return alt ? {role: "img", "aria-label": alt} : {"aria-hidden": "true"};
}

// A tile of a list: picture, label, number, and a weight with its bar, as a link where it has a page.
function tile(part, index, {weight = null, largest = 1, subject = null, size = 72, extra = null} = {}) {
  const name = part === "train" ? exampleName(index) : targetName(index);
  const href = pageOf(part, index);
  let kind = "";
  if (subject !== null && name !== null) kind = subject === name ? "same" : "other";
  const parts = [picture(part, index, size, "")];
  if (name !== null) parts.push(el("span", {class: "name"}, name));
  parts.push(el("span", {class: "number"}, `#${index}`));
  if (weight !== null) {
    const share = Math.min(100, (100 * Math.abs(weight)) / largest);
    parts.push(
      el("span", {class: `weight ${weight > 0 ? "up" : "down"}`}, formatWeight(weight)),
      el("span", {class: `meter ${weight > 0 ? "" : "down"}`, "aria-hidden": "true"}, el("i", {style: `width:${share}%`})),
    );
  }
  if (extra !== null) parts.push(el("span", {class: "number"}, extra));
  const box = href ? el("a", {href, class: kind}, parts) : el("span", {class: `tile ${kind}`}, parts);
  return el("li", {}, box);
}

function pageOf(part, index) {
  if (part === "train") return examplePlace.has(index) ? `#example=${index}` : null;
  return targetPlace.has(index) ? `#target=${index}` : null;
}

function tiles(part, members, options = {}) {
  return el("ul", {class: "tiles"}, Array.from(members, (member) => tile(part, member, options)));
}

// `largest` is the weight of a full bar.
function weightedTiles(part, found, subject, largest) {
  return el("ul", {class: "tiles"}, found.map(({member, weight}) => tile(part, member, {weight, largest, subject})));
}
