// Uploading: the file is the body of a request to the API, as any client would send it.
"use strict";

const place = document.getElementById("card");

/** Bytes as people read them. */
function size(bytes) {
  const units = ["B", "KiB", "MiB", "GiB"];
  const step = Math.min(3, Math.floor(Math.log2(Math.max(bytes, 1)) / 10));
  return `${(bytes / 2 ** (10 * step)).toFixed(step ? 1 : 0)} ${units[step]}`;
}

/** What a failed request has to say. */
function complaint(request) {
  try {
    return JSON.parse(request.responseText).detail;
  } catch {
    return request.status ? `The server answered ${request.status}.` : "The connection was lost. Try again.";
  }
}

function prepare(zone) {
  const input = zone.querySelector("input[type=file]");
  const progress = zone.querySelector("progress");
  const status = zone.querySelector(".status");
  const select = zone.querySelector("select");
  let current = null;

  function say(text, kind) {
    status.textContent = text;
    zone.dataset.state = kind;
  }

  function done(upload) {
    const option = new Option(`${upload.name} · ${size(upload.size)}`, upload.id, true, true);
    select.add(option, 1);
    zone.querySelector(".earlier").hidden = false;
    say(`${upload.name} is here, ${size(upload.size)}`, "done");
    select.dispatchEvent(new Event("change"));
  }

  function send(file) {
    if (current !== null) current.abort();
    const request = (current = new XMLHttpRequest());
    request.open("POST", `/v1/${zone.dataset.upload}?name=${encodeURIComponent(file.name)}`);
    request.setRequestHeader("X-CSRF-Token", token);
    request.upload.onprogress = (event) => {
      progress.value = event.loaded / event.total;
      say(`${size(event.loaded)} of ${size(event.total)}`, "busy");
    };
    request.onload = request.onerror = () => {
      progress.hidden = true;
      if (request.status === 201) done(JSON.parse(request.responseText));
      else say(complaint(request), "bad");
    };
    progress.hidden = false;
    progress.value = 0;
    say(`Sending ${file.name}`, "busy");
    request.send(file);
  }

  input.addEventListener("change", () => input.files.length && send(input.files[0]));
  zone.addEventListener("dragover", (event) => {
    event.preventDefault();
    zone.classList.add("over");
  });
  zone.addEventListener("dragleave", () => zone.classList.remove("over"));
  zone.addEventListener("drop", (event) => {
    event.preventDefault();
    zone.classList.remove("over");
    if (event.dataTransfer.files.length) send(event.dataTransfer.files[0]);
  });
  if (zone.dataset.upload === "models") {
    select.addEventListener("change", () => (select.value ? show(select.value, place) : place.replaceChildren()));
    if (select.value) show(select.value, place);
  }
}

document.querySelectorAll("[data-upload]").forEach(prepare);
// A file dropped beside its place would otherwise replace the page.
for (const kind of ["dragover", "drop"]) document.addEventListener(kind, (event) => event.preventDefault());
