// "/" at the start of the composer lists commands, models and prompts; a prompt that was chosen and filled in goes into the composer.
const input = document.getElementById("chat-input");
const list = document.getElementById("slash-list");
const dialog = document.getElementById("prompt-dialog");
const put = (text) => {
  input.value = text;
  input.dispatchEvent(new Event("input", { bubbles: true }));
};
input.addEventListener("input", () => (list.hidden = !/^\/[^\n]{0,80}$/.test(input.value)));
input.addEventListener("keydown", (event) => event.key === "Escape" && (list.hidden = true));
list.addEventListener("click", (event) => {
  const option = event.target.closest("[role=option]");
  if (!option) return;
  put("");
  const picker = document.getElementById("route-picker");
  if (option.dataset.model) picker.value = option.dataset.model, picker.dispatchEvent(new Event("change", { bubbles: true }));
});
new MutationObserver(() => {
  const ready = dialog.querySelector("[data-compose]");
  if (!ready) return dialog.open || dialog.showModal();
  dialog.close();
  put(ready.textContent);
  input.focus();
}).observe(document.getElementById("prompt-box"), { childList: true });
