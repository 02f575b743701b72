// What every page shares: a model's card that waits for its worker, and questions before forms.
"use strict";

const PAUSE_MS = 700;
const token = document.querySelector("meta[name=csrf]").content;

/** Replace a waiting card by what the worker found, once it has. */
async function fill(card) {
  for (;;) {
    await new Promise((wake) => setTimeout(wake, PAUSE_MS));
    if (!card.isConnected) return;
    const answer = await fetch(`/models/${card.dataset.card}/card`).catch(() => null);
    if (answer === null || answer.status === 202) continue;
    if (answer.ok) card.outerHTML = await answer.text();
    else card.querySelector("[role=status]").textContent = "The model could not be looked at. Load this page again.";
    return;
  }
}

/** Show what is known about a model in `place`. */
async function show(id, place) {
  const answer = await fetch(`/models/${id}/card`);
  if (!answer.ok) return;
  place.innerHTML = await answer.text();
  place.querySelectorAll("[data-card]").forEach(fill);
}

document.querySelectorAll("[data-card]").forEach(fill);
document.querySelectorAll("form[data-ask]").forEach((form) => {
  form.addEventListener("submit", (event) => {
    if (!confirm(form.dataset.ask)) event.preventDefault();
  });
});
