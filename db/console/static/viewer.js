// The photo: zoom to the original's pixels, pan, brightness and contrast, the heatmap over it, another photo beside it.
// Without this script each photo is shown whole.
"use strict";

const LIGHTEST = 100; // per cent
const STEP = 1.25;
const PAN = 0.12;
const views = new WeakMap(); // article -> how its photo is looked at, in all of its panes

function viewOf(article) {
  if (!views.has(article)) views.set(article, { zoom: 1, x: 0.5, y: 0.5, brightness: LIGHTEST, contrast: LIGHTEST });
  return views.get(article);
}

const photos = () => [...document.querySelectorAll("article.photo")];

// The photo that keys are about: the focused one, else the first that is well in the window.
function currentPhoto() {
  const all = photos();
  const seen = all.find((article) => article.getBoundingClientRect().bottom > innerHeight / 3);
  return document.activeElement?.closest("article.photo") ?? seen ?? all[0];
}

const panesOf = (article) => [...article.querySelectorAll(".pane")];
const photoIn = (pane) => pane.querySelector(".box.photo > img:not(.layer)");

// The rectangle in which the whole photo fits its pane, and the zoom at which its pixels are the screen's.
function fitOf(pane) {
  const image = pane && photoIn(pane);
  if (!image?.naturalWidth) return null;
  const scale = Math.min(pane.clientWidth / image.naturalWidth, pane.clientHeight / image.naturalHeight);
  const [width, height] = [image.naturalWidth * scale, image.naturalHeight * scale];
  return { image, width, height, full: 1 / (scale * devicePixelRatio) };
}

function show(article) {
  const view = viewOf(article);
  for (const pane of panesOf(article)) {
    const fit = fitOf(pane);
    if (!fit) continue;
    const box = pane.querySelector(".box.photo");
    const [width, height] = [fit.width * view.zoom, fit.height * view.zoom];
    const left = placed(pane.clientWidth, width, view.x);
    const top = placed(pane.clientHeight, height, view.y);
    Object.assign(box.style, { inset: "auto", left: "0", top: "0", width: `${fit.width}px`, height: `${fit.height}px` });
    box.style.transform = `translate(${left}px, ${top}px) scale(${view.zoom})`;
    pane.classList.toggle("zoomed", view.zoom > 1.001);
    pane.classList.toggle("coarse", view.zoom > 2 * fit.full);
  }
  article.style.setProperty("--light", `brightness(${view.brightness / 100}) contrast(${view.contrast / 100})`);
  tell(article, view);
}

// Where the photo begins in its pane: in the middle while it is smaller, else so that `centre` is in the middle.
function placed(room, size, centre) {
  return size <= room ? (room - size) / 2 : Math.min(0, Math.max(room - size, room / 2 - centre * size));
}

function tell(article, view) {
  const fit = fitOf(panesOf(article)[0]);
  const output = article.querySelector(".tools output");
  if (!fit || !output) return;
  const pixels = `${fit.image.naturalWidth}×${fit.image.naturalHeight}`;
  output.textContent = `${Math.round((100 * view.zoom) / fit.full)} % of ${pixels}${article.dataset.waits ? ", full size is being made" : ""}`;
  for (const slider of article.querySelectorAll("[data-light]")) slider.value = view[slider.dataset.light];
}

// Keep a point of the photo (0..1 of its width and height) where it is in the pane while the zoom changes.
function zoomTo(article, zoom, at) {
  const view = viewOf(article);
  const fit = fitOf(panesOf(article)[0]);
  if (!fit) return;
  const next = Math.min(Math.max(zoom, Math.min(1, fit.full)), Math.max(8, 8 * fit.full));
  if (at) {
    view.x = at.x - (at.x - view.x) * (view.zoom / next);
    view.y = at.y - (at.y - view.y) * (view.zoom / next);
  }
  view.zoom = next;
  keepInside(article);
  if (next > 1) loadOriginal(article);
  show(article);
}

function keepInside(article) {
  const view = viewOf(article);
  const pane = panesOf(article)[0];
  const fit = fitOf(pane);
  for (const [axis, room, size] of [["x", pane.clientWidth, fit.width], ["y", pane.clientHeight, fit.height]]) {
    const half = Math.min(0.5, room / 2 / (size * view.zoom));
    view[axis] = Math.min(1 - half, Math.max(half, view[axis]));
  }
}

function pan(article, dx, dy) {
  const view = viewOf(article);
  if (view.zoom <= 1) return false;
  [view.x, view.y] = [view.x + dx / view.zoom, view.y + dy / view.zoom];
  keepInside(article);
  show(article);
  return true;
}

function zoomBy(article, what) {
  const fit = fitOf(panesOf(article)[0]);
  if (!fit) return;
  const { zoom } = viewOf(article);
  zoomTo(article, { in: zoom * STEP, out: zoom / STEP, fit: 1, full: fit.full }[what]);
}

function light(article, kind, change) {
  const view = viewOf(article);
  view[kind] = Math.min(300, Math.max(40, view[kind] + change));
  show(article);
}

// The point of the photo below the pointer.
function pointAt(pane, event) {
  const box = pane.querySelector(".box.photo").getBoundingClientRect();
  const inside = (value) => Math.min(1, Math.max(0, value));
  return { x: inside((event.clientX - box.left) / box.width), y: inside((event.clientY - box.top) / box.height) };
}

// The photo at its own size replaces the small one. A worker may still be making it.
function loadOriginal(article, tries = 0) {
  const path = article.dataset.original;
  const image = photoIn(panesOf(article)[0] ?? article);
  if (!path || !image || (article.dataset.loads && !tries)) return;
  article.dataset.loads = "1";
  const large = new Image();
  large.alt = image.alt;
  large.onload = () => {
    delete article.dataset.waits;
    const old = photoIn(panesOf(article)[0]);
    if (!article.isConnected || !old) return;
    large.dataset.large = "1";
    old.replaceWith(large);
    show(article);
  };
  large.onerror = () => {
    article.dataset.waits = "1";
    show(article);
    if (article.isConnected && tries < 20) setTimeout(() => loadOriginal(article, tries + 1), 3000);
  };
  large.src = path;
}

function closeComparison(article) {
  const other = article?.querySelector(".pane[data-other]");
  if (!other) return false;
  other.remove();
  article.querySelector(".stage").classList.remove("two");
  show(article);
  return true;
}

function compare(article, path, words) {
  closeComparison(article);
  const pane = document.createElement("div");
  Object.assign(pane, { className: "pane" });
  pane.dataset.other = path;
  const box = Object.assign(document.createElement("div"), { className: "box photo" });
  const image = Object.assign(new Image(), { src: path, alt: words });
  const label = Object.assign(document.createElement("span"), { className: "label", textContent: words });
  const close = Object.assign(document.createElement("button"), { className: "close", type: "button", textContent: "Close" });
  close.addEventListener("click", () => closeComparison(article));
  box.append(image);
  pane.append(box, label, close);
  const stage = article.querySelector(".stage");
  stage.classList.add("two");
  stage.append(pane);
  show(article);
}

// What this photo can be compared with, in order: the case's other photos, copies of it, the account's other photos.
function comparable(article) {
  const others = photos().filter((each) => each !== article && photoIn(each));
  const flagged = others.map((each) => [photoIn(each).getAttribute("src"), each.getAttribute("aria-label")]);
  const thumbs = [...document.querySelectorAll("[data-compare]")];
  return [...flagged, ...thumbs.map((thumb) => [thumb.dataset.compare, thumb.querySelector("img").alt])];
}

function compareNext(article) {
  const choices = comparable(article);
  const now = article.querySelector(".pane[data-other]")?.dataset.other;
  const next = choices[choices.findIndex(([path]) => path === now) + 1];
  if (next) compare(article, ...next);
  else closeComparison(article);
}

// The heatmap lies over the photo. Where there is none yet, a worker is asked for it, and it fades in once it is there.
function toggleHeatmap(article) {
  const map = article?.querySelector("details.map");
  if (!map) return;
  if (article.classList.toggle("evident")) map.open = true;
  if (!placeLayer(article)) map.querySelector("form.empty button")?.click();
}

function placeLayer(article) {
  const box = panesOf(article)[0]?.querySelector(".box.photo");
  if (!box || box.querySelector(".layer")) return Boolean(box);
  const made = article.querySelector(".map .box.heatmap img");
  if (!made) return false;
  const layer = made.cloneNode();
  layer.className = "layer";
  layer.removeAttribute("loading");
  box.append(layer);
  made.closest(".box").hidden = true;
  return true;
}

document.addEventListener("click", (event) => {
  const target = event.target.closest("button");
  if (!target) return;
  const article = target.closest("article.photo") ?? currentPhoto();
  if (!article) return;
  if (target.dataset.zoom) zoomBy(article, target.dataset.zoom);
  else if ("lightReset" in target.dataset) {
    Object.assign(viewOf(article), { brightness: LIGHTEST, contrast: LIGHTEST });
    show(article);
  } else if ("compareNext" in target.dataset) compareNext(article);
  else if (target.dataset.compare) {
    compare(article, target.dataset.compare, target.querySelector("img").alt);
    article.scrollIntoView({ block: "nearest" });
  } else return;
  document.dispatchEvent(new CustomEvent("work"));
});

document.addEventListener("input", (event) => {
  const article = event.target.closest("article.photo");
  if (!article) return;
  if (event.target.dataset.light) {
    viewOf(article)[event.target.dataset.light] = Number(event.target.value);
    show(article);
  } else if ("strength" in event.target.dataset) article.style.setProperty("--strength", event.target.value / 100);
});

document.addEventListener("toggle", (event) => {
  const map = event.target;
  if (!map.matches?.("details.map")) return;
  const article = map.closest("article.photo");
  article.classList.toggle("evident", map.open);
  if (map.open) placeLayer(article);
}, true);

let drag = null;
document.addEventListener("pointerdown", (event) => {
  const pane = event.target.closest?.(".pane");
  if (!pane || event.button !== 0 || !event.target.matches(".box.photo > img")) return;
  drag = { pane, x: event.clientX, y: event.clientY, moved: false };
});
document.addEventListener("pointermove", (event) => {
  if (!drag) return;
  const [dx, dy] = [event.clientX - drag.x, event.clientY - drag.y];
  if (!drag.moved && Math.hypot(dx, dy) < 4) return;
  const article = drag.pane.closest("article.photo");
  const fit = fitOf(drag.pane);
  Object.assign(drag, { moved: true, x: event.clientX, y: event.clientY });
  if (fit) pan(article, -dx / fit.width, -dy / fit.height);
});
document.addEventListener("pointerup", (event) => {
  const was = drag;
  drag = null;
  if (!was || was.moved || event.pointerType === "touch") return;
  const article = was.pane.closest("article.photo");
  const fit = fitOf(was.pane);
  if (!fit) return;
  const large = Math.max(fit.full, 2);
  zoomTo(article, viewOf(article).zoom > 1.001 ? 1 : large, pointAt(was.pane, event));
  document.dispatchEvent(new CustomEvent("work"));
});
document.addEventListener("pointercancel", () => (drag = null));
document.addEventListener("dragstart", (event) => {
  if (event.target.matches?.(".box.photo > img")) event.preventDefault();
});

// Scrolling away from a whole photo scrolls the page.
document.addEventListener("wheel", (event) => {
  const pane = event.target.closest?.(".pane");
  if (!pane || !fitOf(pane)) return;
  const article = pane.closest("article.photo");
  const { zoom } = viewOf(article);
  if (event.deltaY > 0 && zoom <= 1) return;
  event.preventDefault();
  zoomTo(article, Math.max(event.deltaY > 0 ? 1 : 0, zoom * Math.exp(-event.deltaY / 400)), pointAt(pane, event));
  document.dispatchEvent(new CustomEvent("work"));
}, { passive: false });

document.addEventListener("load", (event) => {
  const article = event.target.matches?.(".box.photo > img") && event.target.closest("article.photo");
  if (!article) return;
  show(article);
  if (!event.target.dataset.large && !event.target.closest("[data-other]")) setTimeout(() => loadOriginal(article), 150);
}, true);
document.addEventListener("htmx:afterSwap", (event) => {
  const article = event.target.closest?.("article.photo") ?? event.detail?.elt?.closest?.("article.photo");
  if (article?.classList.contains("evident")) placeLayer(article);
});

function startViewer() {
  for (const tools of document.querySelectorAll(".tools")) tools.hidden = false;
  for (const article of photos()) {
    show(article);
    if (photoIn(panesOf(article)[0] ?? article)?.complete) loadOriginal(article);
  }
}
addEventListener("resize", () => photos().forEach(show));
startViewer();
