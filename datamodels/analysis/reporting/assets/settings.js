// What a reader sets, kept where the browser keeps anything of a page from disk.
function remember(name, value) {
  try {
    localStorage.setItem(`datamodels-report-${name}`, value);
  } catch { /* no storage: then it lasts as long as the page */ }
}

function recall(name) {
  try {
    return localStorage.getItem(`datamodels-report-${name}`);
  } catch {
    return null;
  }
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  remember("theme", theme);
}

function switchTheme() {
  const dark = document.documentElement.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  setTheme(dark === "dark" ? "light" : "dark");
  announce(`${document.documentElement.dataset.theme} colours`);
}

function restoreTheme() {
  const theme = recall("theme");
  if (theme === "dark" || theme === "light") document.documentElement.dataset.theme = theme;
}

// Keys of one character can be switched off: speech input types them by mistake.
function characterKeysAllowed() {
  return document.getElementById("character-keys").checked;
}

function allowCharacterKeys(allowed) {
  remember("character-keys", allowed ? "on" : "off");
  announce(`single-character keys ${allowed ? "on" : "off"}`);
}

function restoreCharacterKeys() {
  document.getElementById("character-keys").checked = recall("character-keys") !== "off";
}
