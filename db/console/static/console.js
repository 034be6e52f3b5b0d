// Keys, prefetching, and what a decision waits for. Every page works without this script: a key presses a button of it.
"use strict";

function goToPhoto(step) {
  const all = photos();
  const next = all[Math.min(all.length - 1, Math.max(0, all.indexOf(currentPhoto()) + step))];
  next?.focus({ preventScroll: true });
  next?.scrollIntoView({ block: "start" });
}

function toggleHelp() {
  const dialog = document.getElementById("keys");
  if (dialog) dialog.open ? dialog.close() : dialog.showModal();
  else location.assign("/help");
}

function press(key) {
  const found = document.querySelector(`[data-key="${key}"]`);
  if (found?.matches("select, textarea")) return found.focus();
  const button = found?.matches("form") ? found.querySelector("button") : found;
  if (button && !button.disabled) button.click();
}

function escape() {
  if (!closeComparison(currentPhoto())) zoom("fit");
}

function zoom(what) {
  const article = currentPhoto();
  if (article) zoomBy(article, what);
  work();
}

function lighten(kind, change) {
  const article = currentPhoto();
  if (article) light(article, kind, change);
  work();
}

const reveal = () => document.documentElement.toggleAttribute("data-revealed");
const onPhoto = (act) => () => currentPhoto() && act(currentPhoto());
const KEYS = {
  j: () => goToPhoto(1), k: () => goToPhoto(-1), h: onPhoto(toggleHeatmap), c: onPhoto(compareNext), v: reveal,
  "?": toggleHelp, Escape: escape,
  "+": () => zoom("in"), "=": () => zoom("in"), "-": () => zoom("out"), 0: () => zoom("fit"), 1: () => zoom("full"),
  ",": () => lighten("brightness", -15), ".": () => lighten("brightness", 15),
  ";": () => lighten("contrast", -20), ":": () => lighten("contrast", 20),
};
for (const key of "frsunltm") KEYS[key] = () => press(key);
const ARROWS = { ArrowLeft: [-PAN, 0], ArrowRight: [PAN, 0], ArrowUp: [0, -PAN], ArrowDown: [0, PAN] };

document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input:not([type=radio], [type=checkbox]), select, textarea");
  if (event.key === "Escape" && typing) return typing.blur();
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  if (document.documentElement.dataset.keys === "off") return;
  if (document.querySelector("dialog[open]") && event.key !== "?") return;
  const article = currentPhoto();
  if (ARROWS[event.key] && article && pan(article, ...ARROWS[event.key])) return event.preventDefault();
  const act = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!act || event.repeat) return;
  if (event.key !== "Escape") event.preventDefault();
  act();
});

// A decision needs a photo on the screen. One that was fetched ahead counts once the console knows that it is shown.
function armButtons() {
  const shown = [...document.querySelectorAll("main .pane:not([data-other]) .box.photo > img:not(.layer)")];
  const ready = shown.some((photo) => photo.complete && photo.naturalWidth && !photo.dataset.unseen);
  for (const button of document.querySelectorAll("[data-needs-photo]")) button.disabled = !ready;
  for (const note of document.querySelectorAll(".wait-photo")) note.hidden = ready;
}
document.addEventListener("load", armButtons, true);
document.addEventListener("error", armButtons, true);
document.addEventListener("htmx:afterSwap", armButtons);

const token = () => document.querySelector("main [name=form_token]")?.value ?? "";
const post = (path, fields = {}) => fetch(path, { method: "POST", body: new URLSearchParams({ form_token: token(), ...fields }) });

async function tellSeen(photo) {
  photo.dataset.unseen = "1";
  try {
    if ((await post(photo.dataset.seen)).ok) delete photo.dataset.unseen;
  } catch { /* the next decision says that the console cannot be reached */ }
  armButtons();
}

// Whoever works on a case holds it; looking alone takes it from nobody.
let heldAt = 0;
async function work() {
  const path = document.querySelector("[data-hold]")?.dataset.hold;
  if (!path || Date.now() - heldAt < 60000) return;
  heldAt = Date.now();
  try {
    const answer = await post(path);
    if (!answer.ok) showError(alertIn(await answer.text()));
  } catch { heldAt = 0; }
}
document.addEventListener("work", work);
document.addEventListener("input", (event) => event.target.closest("#decide, #alike") && work());

document.addEventListener("change", (event) => {
  if (event.target.id === "template") fillTemplate(event.target.selectedOptions[0]);
  if (event.target.name?.startsWith("also-")) countSelected();
});

function fillTemplate(option) {
  const form = document.getElementById("decide");
  if (option.dataset.reason) form.elements.reason.value = option.dataset.reason;
  const note = form.elements.note;
  if (option.dataset.note && !note.value.includes(option.dataset.note)) {
    note.value = note.value ? `${note.value}\n${option.dataset.note}` : option.dataset.note;
  }
}

// The buttons say how many cases they decide.
function countSelected() {
  const form = document.getElementById("decide");
  if (!form) return;
  const others = [...form.elements].filter((field) => field.name?.startsWith("also-") && field.checked);
  const [count, note] = [others.length + 1, form.querySelector(".also")];
  for (const button of form.querySelectorAll(".buttons button > span")) {
    button.dataset.word ??= button.textContent;
    button.textContent = count > 1 ? `${button.dataset.word}: ${count} cases` : button.dataset.word;
  }
  note.hidden = count === 1;
  note.textContent = `Decides this case and ${others.map((field) => field.name.slice(5)).join(", ")}. One undo takes all back.`;
}
document.addEventListener("htmx:afterSettle", countSelected);

// Submit a decision once, however often the button is pressed.
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.dataset.sent) return event.preventDefault();
  if (form.matches(".decide, .alike, .done, .leave")) form.dataset.sent = "1";
  if (form.matches("[data-ahead]")) submitAhead(event);
});
addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("[data-sent]")) delete form.dataset.sent;
});
addEventListener("popstate", () => location.reload());

const alertIn = (text) => new DOMParser().parseFromString(text, "text/html").querySelector("main [role=alert]")?.textContent.trim() ?? "The console refused this. Reload the page.";

// Show the next case without a page load, and move its prefetched photos there: browsers do not cache them.
async function submitAhead(event) {
  event.preventDefault();
  const form = event.target;
  const body = new URLSearchParams(new FormData(form, event.submitter));
  let answer, text;
  try {
    answer = await fetch(form.action, { method: "POST", body });
    text = await answer.text();
  } catch {
    delete form.dataset.sent;
    return showError("The console cannot be reached, and nothing was decided. Try again.");
  }
  const page = new DOMParser().parseFromString(text, "text/html");
  if (!answer.ok && !page.querySelector("main .case")) {
    delete form.dataset.sent;
    return showError(alertIn(text)); // whatever was typed stays
  }
  showPage(page);
  if (answer.redirected) history.pushState({}, "", answer.url);
  document.querySelector("main").focus({ preventScroll: true });
  scrollTo(0, 0);
}

function showPage(page) {
  const ready = new Map([...document.querySelectorAll("#ahead img")].map((photo) => [photo.dataset.photo, photo]));
  for (const photo of page.querySelectorAll("main .box.photo img")) {
    if (ready.has(photo.getAttribute("src"))) {
      photo.dataset.ready = photo.getAttribute("src");
      photo.removeAttribute("src"); // otherwise the browser would fetch it as soon as it is on the page
    }
  }
  document.title = page.title;
  document.body.className = page.body.className;
  document.documentElement.dataset.pictures = page.documentElement.dataset.pictures;
  document.documentElement.removeAttribute("data-revealed");
  for (const part of ["header.top", ".backlog", "main"]) replacePart(part, page);
  for (const photo of document.querySelectorAll("[data-ready]")) {
    const here = ready.get(photo.dataset.ready);
    here.alt = photo.alt;
    photo.replaceWith(here);
    tellSeen(here);
  }
  heldAt = 0;
  startViewer();
  armButtons();
}

function replacePart(part, page) {
  const [old, fresh] = [document.querySelector(part), page.querySelector(part)];
  if (!fresh) return old?.remove();
  old.replaceWith(fresh);
  window.htmx?.process(fresh);
}

function showError(text) {
  const form = document.querySelector("form.decide");
  form?.querySelector("[role=alert]")?.remove();
  const note = document.createElement("p");
  note.className = "wrong";
  note.setAttribute("role", "alert");
  note.textContent = text;
  form?.append(note);
}

// On a narrow screen the pages stand in one line that scrolls: show the name of this one.
function showOwnPage() {
  const name = document.querySelector(".top nav [aria-current]");
  const nav = name?.parentElement;
  if (nav) nav.scrollLeft = name.offsetLeft - nav.offsetLeft - (nav.clientWidth - name.offsetWidth) / 2;
}

// A break: counted in this browser alone, from the first page after five idle minutes.
const IDLE_MS = 5 * 60000;
function remindOfBreak() {
  const minutes = Number(document.documentElement.dataset.rest);
  const [now, seen] = [Date.now(), Number(sessionStorage.getItem("seen") ?? 0)];
  if (now - seen > IDLE_MS) sessionStorage.setItem("began", now);
  sessionStorage.setItem("seen", now);
  const note = document.querySelector(".rest");
  if (!minutes || !note) return;
  const worked = Math.floor((now - Number(sessionStorage.getItem("began"))) / 60000);
  note.hidden = worked < minutes;
  note.querySelector("span").textContent = `You have worked for ${worked} minutes. Look away from the screen for a while.`;
}
document.addEventListener("click", (event) => {
  if (!event.target.closest("[data-rest-later]")) return remindOfBreak();
  sessionStorage.setItem("began", Date.now());
  remindOfBreak();
});
document.addEventListener("keydown", remindOfBreak);
remindOfBreak();
showOwnPage();
armButtons();
