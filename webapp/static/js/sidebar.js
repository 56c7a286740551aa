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
  htmx.ajax("POST", `${dragged.pathname}move/`, { source: list, swap: "none", values: { folder } });
});

// The menu of an entry opens empty, so that it never shows the entry before, and closes when one of its actions is done.
const rowMenu = document.getElementById("row-menu");
rowMenu.addEventListener("beforetoggle", (event) => {
  if (event.newState === "open") rowMenu.replaceChildren();
});
rowMenu.addEventListener("htmx:finally:request", () => rowMenu.hidePopover());

// Results begin at their top, wherever the list was scrolled to.
document.getElementById("chat-find").addEventListener("htmx:finally:request", () => {
  list.scrollTop = 0;
});
