// A job as it goes: its events move the gauge, mark the stages and draw the curves.
"use strict";

const live = document.getElementById("live");
const curves = new Map();
const WIDTH = 320, HEIGHT = 120, PAD = 8;
const NAMES = { loss: "Training loss", accuracy: "Accuracy", fidelity: "Fidelity" };
let last = null;

const element = (id) => document.getElementById(id);

function duration(seconds) {
  if (seconds < 60) return `${Math.max(1, Math.round(seconds))} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

function mark(stage) {
  let seen = stage === null;
  for (const step of element("steps").children) {
    const here = step.dataset.stage === stage;
    if (here && !step.classList.contains("now")) element("said").textContent = step.textContent;
    step.className = here ? "now" : seen ? "ahead" : "done";
    if (here) step.setAttribute("aria-current", "step");
    else step.removeAttribute("aria-current");
    seen = seen || here;
  }
}

function svg(name, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

/** The figure of one number, made when the number is first heard of. */
function curve(name) {
  if (!curves.has(name)) {
    const figure = document.createElement("figure");
    const caption = document.createElement("figcaption");
    const picture = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img" });
    const line = svg("polyline", { class: "line" });
    const dot = svg("circle", { class: "dot", r: 3.5 });
    picture.append(svg("line", { class: "grid", x1: 0, x2: WIDTH, y1: HEIGHT - PAD, y2: HEIGHT - PAD }), line, dot);
    figure.append(caption, picture);
    element("curves").append(figure);
    element("curves").hidden = false;
    curves.set(name, { points: [], line, dot, caption, picture });
  }
  return curves.get(name);
}

function draw(name) {
  const { points, line, dot, caption, picture } = curve(name);
  const xs = points.map((p) => p[0]), ys = points.map((p) => p[1]);
  const [x0, x1] = [Math.min(...xs), Math.max(...xs)];
  const [y0, y1] = [Math.min(...ys), Math.max(...ys)];
  const place = ([x, y]) => [
    PAD + ((x - x0) / (x1 - x0 || 1)) * (WIDTH - 2 * PAD),
    HEIGHT - PAD - ((y - y0) / (y1 - y0 || 1)) * (HEIGHT - 2 * PAD),
  ];
  const placed = points.map(place);
  line.setAttribute("points", placed.map((p) => p.map((v) => v.toFixed(1)).join(",")).join(" "));
  const [cx, cy] = placed[placed.length - 1];
  dot.setAttribute("cx", cx);
  dot.setAttribute("cy", cy);
  const value = ys[ys.length - 1];
  const text = name === "loss" ? value.toPrecision(3) : `${(100 * value).toFixed(1)} %`;
  caption.replaceChildren(NAMES[name] ?? name, " ", Object.assign(document.createElement("b"), { textContent: text }));
  picture.setAttribute("aria-label", `${NAMES[name] ?? name}, now ${text}`);
}

function note(event) {
  const { step, steps, ...numbers } = event.metrics;
  for (const [name, value] of Object.entries(numbers)) {
    if (typeof value !== "number") continue;
    const { points } = curve(name);
    points.push([step ?? points.length, value]);
    draw(name);
  }
}

function hear(message) {
  const event = JSON.parse(message.data);
  if (["succeeded", "failed", "cancelled"].includes(event.state)) {
    stream.close();
    location.reload();
    return;
  }
  // A new attempt begins anew.
  if (last !== null && event.attempt !== last.attempt) {
    curves.clear();
    element("curves").replaceChildren();
  }
  last = event;
  element("overall").value = event.overall;
  element("percent").textContent = `${Math.round(100 * event.overall)} %`;
  element("message").textContent = event.message;
  if (event.state === "running") {
    element("eta").textContent = event.eta_s === null ? "" : `this stage: about ${duration(event.eta_s)} left`;
    document.querySelectorAll(".pill").forEach((pill) => {
      pill.className = "pill running";
      pill.textContent = "Running";
    });
  }
  mark(event.stage);
  note(event);
}

const stream = new EventSource(live.dataset.events);
stream.addEventListener("state", hear);
stream.addEventListener("progress", hear);
