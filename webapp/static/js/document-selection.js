// The selection in a list of documents: counts it, repeats the number in the questions, and keeps it while the list is drawn again.
const list = document.getElementById("documents");
const selected = new Set();

const boxes = () => [...list.querySelectorAll("[name=document]")];
const format = (number) => `${number.toLocaleString("en-US")} document${number === 1 ? "" : "s"}`;

const questions = {
  delete: (what) => `Delete ${what}? This cannot be undone.`,
  reread: (what) => `Read ${what} again? Searches do not find them until they are read.`,
};

const show = () => {
  const panel = list.querySelector(".selection");
  if (!panel) return;
  const all = panel.querySelector("[data-select-all]")?.checked;
  const onPage = boxes();
  for (const box of onPage) box.checked = all || selected.has(box.value);
  const number = all ? Number(panel.dataset.matching) : onPage.filter((box) => box.checked).length;
  const page = panel.querySelector("[data-select-page]");
  page.checked = number > 0 && number >= onPage.length;
  page.indeterminate = number > 0 && !page.checked;
  panel.querySelector("[data-selected-count]").textContent = number ? `${format(number)} selected` : "Select all on this page";
  panel.querySelector(".selection-actions").hidden = number === 0;
  for (const button of panel.querySelectorAll("button")) {
    const question = questions[button.value];
    if (question) button.dataset.confirm = question(format(number));
  }
};

list.addEventListener("change", ({ target }) => {
  if (target.matches("[data-select-page]")) {
    for (const box of boxes()) target.checked ? selected.add(box.value) : selected.delete(box.value);
    const all = list.querySelector("[data-select-all]");
    if (all && !target.checked) all.checked = false;
  } else if (target.name === "document") {
    target.checked ? selected.add(target.value) : selected.delete(target.value);
    const all = list.querySelector("[data-select-all]");
    if (all) all.checked = false;
  } else if (target.matches("[data-select-all]") && !target.checked) {
    selected.clear();
  } else if (!target.matches("[data-select-all]")) {
    return;
  }
  show();
});

// A change of the selected documents ends the selection.
document.addEventListener("htmx:after:settle", ({ target }) => {
  if (target === list && list.querySelector("#messages")) selected.clear();
  if (list.contains(target)) show();
});
show();
