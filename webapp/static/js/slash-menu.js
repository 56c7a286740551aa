// "/" at the start of a message lists commands, prompts and models. A chosen prompt is filled in and goes into the message box.
const input = document.getElementById("chat-input");
const list = document.getElementById("slash-list");
const dialog = document.getElementById("prompt-dialog");
const box = document.getElementById("prompt-box");
const COMMAND = /^\/[^\n]{0,80}$/;

const setText = (text) => {
  input.value = text;
  input.dispatchEvent(new Event("input", { bubbles: true }));
};

input.addEventListener("input", () => {
  list.hidden = !COMMAND.test(input.value);
});
input.addEventListener("keydown", (event) => {
  if (event.key === "Escape") list.hidden = true;
});
list.addEventListener("click", (event) => {
  if (event.target.closest("[role=option]")) setText("");
});

// The server answers with a form for the prompt's variables, or with the finished text.
new MutationObserver(() => {
  const finished = box.querySelector("[data-compose]");
  if (finished) {
    dialog.close();
    setText(finished.textContent);
    input.focus();
  } else if (!dialog.open) {
    dialog.showModal();
  }
}).observe(box, { childList: true });
