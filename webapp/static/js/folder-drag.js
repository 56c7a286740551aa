// A conversation dragged onto a folder goes into it, dragged onto the others out of its own. (By keyboard: Move, in the conversation's menu.)
const list = document.getElementById("conversation-list");
let dragged = null;
const group = (event) => dragged && event.target.closest("[data-folder]");
const mark = (at) => {
  list.querySelector(".drop")?.classList.remove("drop");
  at?.classList.add("drop");
};
list.addEventListener("dragstart", (event) => (dragged = event.target.closest("a")));
list.addEventListener("dragover", (event) => (mark(group(event)), group(event) && event.preventDefault()));
list.addEventListener("dragend", () => (mark(null), (dragged = null)));
list.addEventListener("drop", (event) => {
  const folder = group(event)?.dataset.folder;
  if (folder === undefined) return;
  event.preventDefault();
  htmx.ajax("POST", dragged.pathname + "move/", { source: list, target: list, swap: "innerHTML", values: { folder } });
});
