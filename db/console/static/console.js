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
  const form = event.target;
  if (form.dataset.sent) return event.preventDefault();
  if (form.matches(".decide, .alike, .done")) form.dataset.sent = "1";
  if (form.matches("[data-ahead]")) goOn(event);
});
addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("[data-sent]")) delete form.dataset.sent;
});
addEventListener("popstate", () => location.reload());

// The next case's photos are here already (no browser keeps them otherwise): its page takes them over.
async function goOn(event) {
  event.preventDefault();
  const form = event.target;
  const body = new URLSearchParams(new FormData(form, event.submitter));
  let answer, text;
  try {
    answer = await fetch(form.action, { method: "POST", body });
    text = await answer.text();
  } catch {
    delete form.dataset.sent;
    return say("The console cannot be reached: nothing was decided. Try again.");
  }
  const page = new DOMParser().parseFromString(text, "text/html");
  const ready = new Map([...document.querySelectorAll("#ahead img")].map((photo) => [photo.getAttribute("src"), photo]));
  for (const photo of page.querySelectorAll("main .box.photo img")) {
    if (ready.has(photo.getAttribute("src"))) {
      photo.dataset.ready = photo.getAttribute("src");
      photo.removeAttribute("src"); // or it would be asked for as soon as it is on the page
    }
  }
  document.title = page.title;
  for (const part of ["header.top", ".backlog", "main"]) show(part, page);
  for (const photo of document.querySelectorAll("[data-ready]")) {
    const here = ready.get(photo.dataset.ready);
    here.alt = photo.alt;
    photo.replaceWith(here);
  }
  if (answer.redirected) history.pushState({}, "", answer.url);
  document.querySelector("main").focus({ preventScroll: true });
  scrollTo(0, 0);
}

function show(part, page) {
  const [old, fresh] = [document.querySelector(part), page.querySelector(part)];
  if (!fresh) return old?.remove();
  old.replaceWith(fresh);
  window.htmx?.process(fresh);
}

function say(text) {
  const note = document.createElement("p");
  note.className = "wrong";
  note.setAttribute("role", "alert");
  note.textContent = text;
  document.querySelector(".decide")?.append(note);
}
