// The steps of a route in the admin: moved by dragging a handle, by two buttons, or by Alt and an arrow key. Their order is their position.
const body = document.querySelector("#steps-group tbody");
const KEYS = { ArrowUp: -1, ArrowDown: 1 };

const rows = () => [...body.querySelectorAll("tr.form-row:not(.empty-form)")];
const renumber = () => {
  rows().forEach((row, index) => {
    row.querySelector("[name$=-position]").value = index;
  });
};

const move = (row, distance) => {
  const all = rows();
  const neighbor = all[all.indexOf(row) + distance];
  if (!neighbor) return;
  if (distance < 0) neighbor.before(row);
  else neighbor.after(row);
  renumber();
};

const moveButton = (row, text, label, distance) => {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = text;
  button.ariaLabel = label;
  button.addEventListener("click", () => {
    move(row, distance);
    button.focus();
  });
  return button;
};

const dragHandle = (row) => {
  const handle = document.createElement("span");
  handle.className = "steps-handle";
  handle.textContent = "⠿";
  handle.draggable = true;
  handle.ariaHidden = true;
  handle.addEventListener("dragstart", (event) => {
    row.classList.add("dragging");
    event.dataTransfer.setDragImage(row, 0, 0);
  });
  handle.addEventListener("dragend", () => {
    row.classList.remove("dragging");
    renumber();
  });
  return handle;
};

const addControls = (row) => {
  const cell = row.querySelector("td.field-position");
  if (!cell || cell.querySelector("button")) return;
  cell.classList.add("steps-buttons");
  cell.prepend(dragHandle(row), moveButton(row, "↑", "Move this step up", -1), moveButton(row, "↓", "Move this step down", 1));
};

if (body) {
  body.addEventListener("dragover", (event) => {
    const dragged = body.querySelector(".dragging");
    const target = event.target.closest("tr.form-row");
    if (!dragged || !target || target === dragged) return;
    event.preventDefault();
    const { top, height } = target.getBoundingClientRect();
    if (event.clientY < top + height / 2) target.before(dragged);
    else target.after(dragged);
  });
  body.addEventListener("keydown", (event) => {
    const distance = KEYS[event.key];
    if (!event.altKey || !distance) return;
    event.preventDefault();
    move(event.target.closest("tr"), distance);
    event.target.focus();
  });
  document.addEventListener("formset:added", (event) => {
    addControls(event.target);
    renumber();
  });
  rows().forEach(addControls);
}
