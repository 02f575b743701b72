// The recipe follows the answers; what is typed into it is checked by the server while one types.
"use strict";

const PATIENCE_MS = 350;
const form = document.getElementById("new");
const start = form.querySelector("button.primary");
let timer = 0;
let latest = 0;

/** Ask the server; with `compose`, for the recipe of the answers, else for a verdict on the text. */
async function ask(compose) {
  const mine = ++latest;
  const fields = new URLSearchParams(new FormData(form));
  if (compose) fields.set("compose", "1");
  const answer = await fetch("/recipe", { method: "POST", body: fields });
  if (!answer.ok || mine !== latest) return;
  const made = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("recipe-part");
  const held = document.getElementById("recipe-part");
  held.dataset.valid = made.dataset.valid;
  const text = held.querySelector("textarea");
  const fresh = made.querySelector("textarea");
  if (compose) text.value = fresh.value;
  text.rows = fresh.rows;
  text.toggleAttribute("aria-invalid", made.dataset.valid === "no");
  if (made.dataset.valid === "no") text.setAttribute("aria-invalid", "true");
  held.querySelector("#recipe-check").replaceChildren(...made.querySelector("#recipe-check").childNodes);
  start.disabled = made.dataset.valid === "no";
}

form.addEventListener("input", (event) => {
  const typed = event.target.id === "recipe";
  if (["percent", "metric"].includes(event.target.id)) form.elements.budget.value = "own";
  clearTimeout(timer);
  timer = setTimeout(() => ask(!typed), typed || event.target.id === "percent" ? PATIENCE_MS : 0);
});
