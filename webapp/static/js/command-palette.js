// Shortcuts and commands: data-run="SELECTOR" opens, focuses or clicks the element it selects; data-key="mod+k" binds it to a key.
const openPalette = (dialog) => {
  for (const field of dialog.querySelectorAll("[data-picks]")) {
    field.value = "";
    htmx.trigger(document.getElementById(field.dataset.picks), "open");
  }
};

const run = (selector) => {
  const target = document.querySelector(selector);
  for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close();
  if (!target) return;
  if (!target.checkVisibility()) target.closest("[popover]")?.showPopover();
  if (target.matches("dialog")) {
    target.showModal();
    openPalette(target);
  } else if (target.matches("input, textarea, select")) {
    target.focus();
  } else {
    target.click();
  }
};

document.addEventListener("click", (event) => {
  const command = event.target.closest("[data-run]");
  if (command) run(command.dataset.run);
});

// "?" needs Shift on most keyboards, so Shift counts only where it does not change the character.
const nameOf = (event) => {
  const key = event.key.toLowerCase();
  const shift = event.shiftKey && key !== event.key.toUpperCase();
  return (event.ctrlKey || event.metaKey ? "mod+" : "") + (shift ? "shift+" : "") + key;
};
const isTyping = (event) => {
  const modifier = event.ctrlKey || event.metaKey;
  return !modifier && event.key.length === 1 && event.target.closest("input, textarea, select");
};

document.addEventListener("keydown", (event) => {
  if (event.isComposing || isTyping(event)) return;
  const command = document.querySelector(`[data-key="${CSS.escape(nameOf(event))}"]`);
  if (!command) return;
  event.preventDefault();
  run(command.dataset.run);
});
