// The recipe follows the answers; what is typed into it is checked by the server while one types.
"use strict";

const PATIENCE_MS = 350;
const form = document.getElementById("new");
const start = form.querySelector("button.primary");
let timer = 0;
let latest = 0;

/** Let the answers in words say what the recipe of that name means. */
function answer(named) {
  const { budget, effort, percent, metric } = named.dataset;
  for (const box of form.querySelectorAll("[name=budget], [name=effort]")) {
    box.checked = box.value === (box.name === "budget" ? budget : effort);
  }
  document.getElementById("when").textContent = named.dataset.when;
  form.elements.percent.value = percent;
  form.elements.metric.value = metric;
}

/** Ask the server; `compose` says for what: the recipe of the answers (1) or of a name, else a verdict on the text. */
async function ask(compose) {
  const mine = ++latest;
  const fields = new URLSearchParams(new FormData(form));
  if (compose) fields.set("compose", compose);
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
  const named = event.target.name === "named";
  if (named) answer(event.target);
  const compose = typed ? "" : named ? "named" : "1";
  timer = setTimeout(() => ask(compose), typed || event.target.id === "percent" ? PATIENCE_MS : 0);
});
