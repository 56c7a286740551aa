// The rows of a route's steps: moved by dragging their handle, by two buttons, or by Alt and an arrow key. Their order becomes their position.
(() => {
  const body = document.querySelector("#steps-group tbody");
  if (!body) return;
  const rows = () => [...body.querySelectorAll("tr.form-row:not(.empty-form)")];
  const number = () => rows().forEach((row, place) => (row.querySelector("[name$=-position]").value = place));
  const move = (row, by) => {
    const all = rows(),
      other = all[all.indexOf(row) + by];
    if (!other) return;
    by < 0 ? other.before(row) : other.after(row);
    number();
  };
  const equip = (row) => {
    const cell = row.querySelector("td.field-position");
    if (!cell || cell.querySelector("button")) return;
    const button = (text, label, by) => {
      const made = Object.assign(document.createElement("button"), { type: "button", textContent: text, ariaLabel: label });
      made.addEventListener("click", () => (move(row, by), made.focus()));
      return made;
    };
    const handle = Object.assign(document.createElement("span"), { className: "steps-handle", textContent: "⠿", draggable: true, ariaHidden: true });
    handle.addEventListener("dragstart", (event) => (row.classList.add("dragging"), event.dataTransfer.setDragImage(row, 0, 0)));
    handle.addEventListener("dragend", () => (row.classList.remove("dragging"), number()));
    cell.classList.add("steps-buttons");
    cell.prepend(handle, button("↑", "Move this step up", -1), button("↓", "Move this step down", 1));
  };
  body.addEventListener("dragover", (event) => {
    const dragged = body.querySelector(".dragging"),
      over = event.target.closest("tr.form-row");
    if (!dragged || !over || over === dragged) return;
    event.preventDefault();
    const { top, height } = over.getBoundingClientRect();
    event.clientY < top + height / 2 ? over.before(dragged) : over.after(dragged);
  });
  body.addEventListener("keydown", (event) => {
    const by = { ArrowUp: -1, ArrowDown: 1 } [event.key];
    if (!event.altKey || !by) return;
    event.preventDefault();
    move(event.target.closest("tr"), by);
    event.target.focus();
  });
  document.addEventListener("formset:added", (event) => (equip(event.target), number()));
  rows().forEach(equip);
})();
