// The list of cases: tick all, and say how many are ticked. The page works without this script.
"use strict";

const ticks = () => [...document.querySelectorAll('input[type=checkbox][name^="case-"]')];

function showCount() {
  const count = ticks().filter((tick) => tick.checked).length;
  const label = document.getElementById("ticked");
  if (!label) return;
  label.textContent = count ? `${count} selected` : "none selected";
  label.closest("form").classList.toggle("idle", !count);
}

const all = document.getElementById("tick-all");
if (all) {
  all.closest("label").hidden = false;
  all.addEventListener("change", () => {
    for (const tick of ticks()) if (!tick.disabled) tick.checked = all.checked;
    showCount();
  });
  document.addEventListener("change", showCount);
  addEventListener("pageshow", showCount);
  showCount();
}
