// Shortcuts and commands: data-run="SELECTOR" opens, focuses or clicks what it names; data-key="mod+k" does so from the keyboard.
const run = (selector) => {
  const target = document.querySelector(selector);
  document.querySelectorAll("dialog[open]").forEach((dialog) => dialog.close());
  if (!target) return;
  if (!target.checkVisibility()) target.closest("[popover]")?.showPopover();
  if (target.matches("dialog")) target.showModal();
  else if (target.matches("input, textarea, select")) target.focus();
  else target.click();
  target.querySelectorAll("[data-picks]").forEach((field) => {
    field.value = "";
    htmx.trigger(document.getElementById(field.dataset.picks), "open");
  });
};
document.addEventListener("click", (event) => {
  const by = event.target.closest("[data-run]");
  if (by) run(by.dataset.run);
});
document.addEventListener("keydown", (event) => {
  const key = event.key.toLowerCase(),
    mod = event.ctrlKey || event.metaKey;
  if (event.isComposing || (!mod && key.length === 1 && event.target.closest("input, textarea, select"))) return;
  const shift = event.shiftKey && key !== event.key.toUpperCase();
  const by = document.querySelector(`[data-key="${CSS.escape((mod ? "mod+" : "") + (shift ? "shift+" : "") + key)}"]`);
  if (!by) return;
  event.preventDefault();
  run(by.dataset.run);
});
