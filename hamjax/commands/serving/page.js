// One image at a time: it is sent, and what the network says of it is shown. Nothing is fetched from elsewhere.
"use strict";

const at = (id) => document.getElementById(id);
const main = document.querySelector("main");
const maxBytes = Number(main.dataset.maxBytes);
const names = new Map([...at("classes").children].map((li) => [li.dataset.class, li.textContent]));
let asked = 0;

function element(tag, text, attributes = {}) {
  const made = document.createElement(tag);
  made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

function row(heading, ...cells) {
  const made = document.createElement("tr");
  made.append(element("th", heading, { scope: "row" }));
  for (const cell of cells) {
    const td = document.createElement("td");
    td.append(cell);
    made.append(td);
  }
  return made;
}

function bar(share) {
  const made = element("div", "", { class: "track" });
  const rail = element("span", "", { class: "rail", "aria-hidden": "true" });
  const fill = element("span", "", { class: "fill" });
  fill.style.width = `${100 * share}%`;
  rail.append(fill);
  made.append(rail, element("span", percent(share), { class: "share-text" }));
  return made;
}

const percent = (share) => `${(100 * share).toFixed(1)}%`;

function refuse(message) {
  at("status").textContent = "";
  at("problem").textContent = message;
}

async function predict(files) {
  const file = files[0];
  if (!file) return;
  const turn = ++asked;
  at("result").hidden = true;
  at("problem").textContent = "";
  if (file.size > maxBytes) {
    refuse(`${file.name}: ${(file.size / 2 ** 20).toFixed(0)} MB are too many; up to ${maxBytes / 2 ** 20} MB are taken.`);
    return;
  }
  const more = files.length > 1 ? `, the first of ${files.length}` : "";
  at("status").textContent = `Predicting ${file.name}${more} …`;
  const form = new FormData();
  form.append("images", file);
  let answer;
  try {
    const response = await fetch("/v1/predict?heat_map=true", { method: "POST", body: form });
    answer = await response.json();
    if (!response.ok) throw new Error(answer.detail);
  } catch (error) {
    // An older question has been overtaken.
    if (turn === asked) refuse(error instanceof TypeError ? `${file.name}: the server does not answer.` : error.message);
    return;
  }
  if (turn === asked) show(file, answer.images[0]);
}

function show(file, found) {
  const shares = found.calibrated ?? found.probabilities;
  const name = names.get(found.predicted);
  at("predicted").textContent = `${found.predicted}, ${name}: ${percent(shares[found.predicted])}`;
  at("set").textContent = found.set === null ? "" : `Not ruled out at ${main.dataset.setLevel}: ${found.set.join(", ") || "no class"}.`;
  at("notes").replaceChildren(...found.notes.map((text) => element("li", text)));
  const unmeasured = found.unlike.some((each) => each.unlike === null);
  if (unmeasured) at("notes").append(element("li", "whether it is unlike the training images is not measured by this run"));

  const order = [...names.keys()].sort((a, b) => shares[b] - shares[a]);
  at("bars").tBodies[0].replaceChildren(...order.map((dx) => row(`${dx}, ${names.get(dx)}`, bar(shares[dx]))));
  at("bars").tBodies[0].rows[0].className = "first";
  at("targets").tBodies[0].replaceChildren(
    ...["melanoma", "malignant"].map((target) => row(target, percent(found[target]), reached(found, target))),
  );

  const image = at("image");
  URL.revokeObjectURL(image.src);
  image.onload = () => {
    const wide = image.naturalWidth > image.naturalHeight;
    image.parentElement.className = `stack ${main.dataset.resize} ${wide ? "wide" : "tall"}`;
  };
  image.src = URL.createObjectURL(file);
  image.alt = file.name;
  at("overlay").src = found.heat_map;
  at("overlay").alt = "";
  at("evidence").textContent = `${found.heat_map_text}.`;
  at("status").textContent = `${file.name}: predicted ${found.predicted}, ${name}.`;
  at("result").hidden = false;
  at("predicted").focus();
}

function reached(found, target) {
  const prefix = `${target}_at_specificity_`;
  const points = Object.entries(found).filter(([key]) => key.startsWith(prefix));
  if (!points.length) return "not recorded";
  return points.filter(([, yes]) => yes).map(([key]) => key.slice(prefix.length)).join(", ") || "none";
}

for (const id of ["file", "camera"]) {
  at(id).addEventListener("change", (event) => {
    predict([...event.target.files]);
    // So that choosing the same file again asks again.
    event.target.value = "";
  });
}
at("drop").addEventListener("submit", (event) => event.preventDefault());
at("opacity").addEventListener("input", () => {
  at("overlay").style.opacity = at("opacity").value / 100;
});
at("overlay").style.opacity = at("opacity").value / 100;

// Anywhere on the page: a browser would otherwise open an image that misses the box in its place.
for (const kind of ["dragenter", "dragover"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    at("drop").classList.add("over");
  });
}
for (const kind of ["dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    at("drop").classList.remove("over");
  });
}
document.addEventListener("drop", (event) => predict([...event.dataTransfer.files]));
document.addEventListener("paste", (event) => predict([...event.clipboardData.files]));
