// The route editor: models become steps, and steps move, by dragging, by buttons, or by Alt and an arrow key.
const form = document.getElementById("route-form");
const steps = document.getElementById("steps");
const template = document.getElementById("step-template");
const news = document.getElementById("step-news");
const unsaved = document.getElementById("unsaved");
const DIRECTIONS = { ArrowUp: -1, ArrowDown: 1 };

const all = () => [...steps.querySelectorAll(".step")];
const nameOf = (step) => `${step.querySelector("[name=backend]").value}/${step.querySelector("[name=model]").value}`;

// What counts as a change: everything that Save stores. Simulated failures and the question are not stored.
const IGNORED = new Set(["condition", "cooling", "question", "from", "words", "csrfmiddlewaretoken"]);
const stored = () => JSON.stringify([...new FormData(form)].filter(([name]) => !IGNORED.has(name)));
const saved = stored();
let leaving = false;

const refreshState = () => {
  all().forEach((step, index) => {
    step.querySelector("[data-place]").textContent = index + 1;
  });
  unsaved.hidden = stored() === saved;
};

// A change event on the form also makes the picture redraw.
const changed = (text) => {
  if (text) news.textContent = text;
  form.dispatchEvent(new Event("change", { bubbles: true }));
};

const newStep = ({ addBackend, addModel }) => {
  const step = template.content.firstElementChild.cloneNode(true);
  step.querySelector("[name=backend]").value = addBackend;
  step.querySelector("[name=model]").value = addModel;
  step.querySelector("[data-backend]").textContent = addBackend;
  step.querySelector("[data-model]").textContent = addModel;
  return step;
};

const announcePlace = (step) => changed(`${nameOf(step)} is step ${all().indexOf(step) + 1} of ${all().length}.`);

const move = (step, distance) => {
  const neighbor = all()[all().indexOf(step) + distance];
  if (!neighbor) return;
  if (distance < 0) neighbor.before(step);
  else neighbor.after(step);
  announcePlace(step);
};

const remove = (step) => {
  const name = nameOf(step);
  const next = step.nextElementSibling ?? step.previousElementSibling;
  step.remove();
  (next?.querySelector("[data-remove]") ?? document.getElementById("model-words")).focus();
  changed(`${name} is removed.`);
};

form.addEventListener("change", refreshState);
form.addEventListener("input", refreshState);
form.addEventListener("submit", () => { leaving = true; });
window.addEventListener("beforeunload", (event) => {
  if (!leaving && stored() !== saved) event.preventDefault();
});

form.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  const step = button?.closest(".step");
  if (button?.matches("[data-add]")) {
    const added = newStep(button.closest("[data-add-model]").dataset);
    steps.append(added);
    announcePlace(added);
  } else if (step && button.matches("[data-move]")) {
    move(step, Number(button.dataset.move));
    button.focus();
  } else if (step && button.matches("[data-remove]")) remove(step);
});

steps.addEventListener("keydown", (event) => {
  const distance = DIRECTIONS[event.key];
  if (!event.altKey || !distance) return;
  event.preventDefault();
  move(event.target.closest(".step"), distance);
  event.target.focus();
});

// Enter in a field must not save a route that is only being tried.
form.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && event.target.matches("#model-words, .step input")) event.preventDefault();
});

// Dragging: a step of the list, or a model that becomes a step when it first enters the list.
let dragged = null;
let isNew = false;

form.addEventListener("dragstart", (event) => {
  const source = event.target.closest?.(".step, .model-choice");
  if (!source) return;
  isNew = source.matches(".model-choice");
  dragged = isNew ? newStep(source.dataset) : source;
  dragged.classList.add("dragging");
  event.dataTransfer.effectAllowed = "copyMove";
  event.dataTransfer.setData("text/plain", nameOf(dragged));
});

const place = (event) => {
  const target = event.target.closest(".step");
  if (target === dragged) return;
  if (!target) {
    if (!dragged.isConnected) steps.append(dragged);
    return;
  }
  const { top, height } = target.getBoundingClientRect();
  if (event.clientY < top + height / 2) target.before(dragged);
  else target.after(dragged);
};

const zone = steps.closest("section");
zone.addEventListener("dragover", (event) => {
  if (!dragged) return;
  event.preventDefault();
  place(event);
});
zone.addEventListener("drop", (event) => {
  if (!dragged) return;
  event.preventDefault();
  isNew = false;
  announcePlace(dragged);
});
form.addEventListener("dragend", () => {
  dragged?.classList.remove("dragging");
  if (isNew) dragged?.remove();
  dragged = null;
  refreshState();
});
