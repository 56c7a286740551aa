// Conversations dragged in the sidebar: onto a folder to move them there, onto the others to move them out.
// By keyboard: Move, in the conversation's menu.
const list = document.getElementById("conversation-list");
let dragged = null;

const targetOf = (event) => (dragged ? event.target.closest("[data-folder]") : null);
const highlight = (target) => {
  list.querySelector(".drop-target")?.classList.remove("drop-target");
  target?.classList.add("drop-target");
};

list.addEventListener("dragstart", (event) => {
  dragged = event.target.closest("a");
});
list.addEventListener("dragover", (event) => {
  const target = targetOf(event);
  highlight(target);
  if (target) event.preventDefault();
});
list.addEventListener("dragend", () => {
  highlight(null);
  dragged = null;
});
list.addEventListener("drop", (event) => {
  const target = targetOf(event);
  if (!target) return;
  event.preventDefault();
  const { folder } = target.dataset;
  htmx.ajax("POST", `${dragged.pathname}move/`, { source: list, target: list, swap: "innerHTML", values: { folder } });
});
