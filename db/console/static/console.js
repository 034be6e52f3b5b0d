// Keys, and nothing that the page cannot do without them. Every key presses a button or a link that is there.
"use strict";

const photos = () => [...document.querySelectorAll("article.photo")];
const current = () => Math.max(0, photos().indexOf(document.activeElement?.closest("article.photo") ?? photos()[0]));

function look(step) {
  const all = photos();
  const next = all[Math.min(all.length - 1, Math.max(0, current() + step))];
  next?.focus({ preventScroll: true });
  next?.scrollIntoView({ block: "start" });
}

function heatmap() {
  const map = photos()[current()]?.querySelector("details.map");
  if (!map) return;
  map.open = !map.open;
  if (map.open) map.querySelector("form.empty button")?.click();
}

function help() {
  const dialog = document.getElementById("keys");
  if (dialog) dialog.open ? dialog.close() : dialog.showModal();
  else location.assign("/help");
}

function press(key) {
  const found = document.querySelector(`[data-key="${key}"]`);
  const button = found?.matches("form") ? found.querySelector("button") : found;
  if (button && !button.disabled) button.click();
}

const KEYS = { j: () => look(1), k: () => look(-1), h: heatmap, "?": help };
for (const key of "frsun") KEYS[key] = () => press(key);

document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input:not([type=radio]), select, textarea");
  if (event.key === "Escape" && typing) typing.blur();
  if (typing || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  if (document.documentElement.dataset.keys === "off") return;
  if (document.querySelector("dialog[open]") && event.key !== "?") return;
  const act = KEYS[event.key.toLowerCase()];
  if (!act) return;
  event.preventDefault();
  act();
});

// One decision, however often it is pressed.
document.addEventListener("submit", (event) => {
  if (event.target.dataset.sent) event.preventDefault();
  if (event.target.matches(".decide, .done")) event.target.dataset.sent = "1";
});
addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("[data-sent]")) delete form.dataset.sent;
});
