"use strict";

// Elements are built one by one: text of the user's is never taken for HTML.
function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  setAttributes(element, attributes);
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  setAttributes(element, attributes);
  element.append(...children.flat());
  return element;
}

function setAttributes(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "on") {
      for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    } else if (value === true) {
      element.setAttribute(name, "");
    } else if (value !== false && value !== null && value !== undefined) {
      element.setAttribute(name, value);
    }
  }
}

function announce(text) {
  document.getElementById("announce").textContent = text;
}

const MINUS = "\u2212";
const counts = new Intl.NumberFormat("en", {maximumFractionDigits: 0});

function formatCount(value) {
  return Number.isFinite(value) ? counts.format(value) : "–";
}

// Three significant digits, few enough to compare down a column.
function formatNumber(value) {
  if (!Number.isFinite(value)) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  const text = size >= 1e5 || size < 1e-4
    ? size.toExponential(1).replace("e+", "e")
    : size.toFixed(Math.max(0, Math.min(6, 2 - Math.floor(Math.log10(size)))));
  return (value < 0 ? MINUS : "") + text;
}

function formatScore(value) {
  return Number.isFinite(value) ? value.toFixed(3).replace("-", MINUS) : "–";
}

function formatWeight(value) {
  return (value > 0 ? "+" : "") + formatNumber(value);
}

function formatPercent(share) {
  return `${(100 * share).toFixed(1)}%`;
}

function plural(count, one, many = `${one}s`) {
  return `${formatCount(count)} ${count === 1 ? one : many}`;
}
