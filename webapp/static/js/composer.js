// The message box: keys, the draft of each conversation, and files that are pasted, dropped or uploaded.
const chat = document.getElementById("chat");
const composer = document.getElementById("composer");
const input = document.getElementById("chat-input");
const fileInput = document.getElementById("chat-file");
const chips = document.getElementById("chat-chips");
const draftKey = "draft-" + chat.dataset.draft;
const touchOnly = matchMedia("(pointer: coarse)");

// Safari ends a composition with a key of code 229 that no longer says isComposing.
const isComposing = (event) => event.isComposing || event.keyCode === 229;

input.value ||= localStorage.getItem(draftKey) ?? "";
input.addEventListener("input", () => localStorage.setItem(draftKey, input.value));

// A touch keyboard has no Shift+Enter, so Enter makes a new line there and the button sends.
input.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || isComposing(event)) return;
  const withModifier = event.ctrlKey || event.metaKey;
  if (touchOnly.matches && !withModifier) return;
  event.preventDefault();
  composer.requestSubmit();
});

// Forms that open in the page, such as the edit box: Ctrl+Enter submits, Escape cancels.
document.addEventListener("keydown", (event) => {
  const form = event.target.closest("[data-keys=form]");
  if (!form || isComposing(event)) return;
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    form.requestSubmit();
  } else if (event.key === "Escape") {
    event.preventDefault();
    form.querySelector("[data-cancel]").click();
  }
});

// A starter of the empty chat is sent as a question. What was already written stays.
document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-starter]");
  if (!button || input.value.trim()) return;
  input.value = button.dataset.starter;
  composer.requestSubmit();
});

// The server confirms a message before the box is cleared, so nothing is lost when it is refused.
document.addEventListener("htmx:after:ws:message", (event) => {
  const sent = event.detail.message.json?.sent;
  if (sent === undefined) return;
  if (input.value.trim() === sent.trim()) input.value = "";
  localStorage.removeItem(draftKey);
  chips.replaceChildren();
  for (const box of composer.querySelectorAll("[name=compare]")) box.checked = false;
  if (location.pathname !== chat.dataset.url) history.replaceState(null, "", chat.dataset.url);
});

const attach = (event, data) => {
  if (!data?.files.length) return;
  event.preventDefault();
  fileInput.files = data.files;
  fileInput.dispatchEvent(new Event("change", { bubbles: true }));
};

// Spreadsheets put a picture of the cells beside their text: the text is meant.
input.addEventListener("paste", (event) => {
  if (event.clipboardData.types.includes("text/plain")) return;
  attach(event, event.clipboardData);
});

const hasFiles = (event) => event.dataTransfer.types.includes("Files");
chat.addEventListener("dragover", (event) => {
  if (!hasFiles(event)) return;
  event.preventDefault();
  composer.classList.add("drop-target");
});
chat.addEventListener("dragleave", (event) => {
  if (!chat.contains(event.relatedTarget)) composer.classList.remove("drop-target");
});
chat.addEventListener("drop", (event) => {
  composer.classList.remove("drop-target");
  attach(event, event.dataTransfer);
});

// A message sent during an upload would go without its file: it waits until the upload has ended.
let uploads = 0;
let sendAfterUpload = false;
fileInput.addEventListener("htmx:before:request", () => {
  uploads++;
  chips.setAttribute("aria-busy", "true");
});
fileInput.addEventListener("htmx:finally:request", () => {
  uploads = Math.max(0, uploads - 1);
  if (uploads) return;
  chips.removeAttribute("aria-busy");
  fileInput.value = "";
  if (!sendAfterUpload) return;
  sendAfterUpload = false;
  composer.requestSubmit();
});
composer.addEventListener("submit", (event) => {
  if (!uploads) return;
  event.preventDefault();
  event.stopImmediatePropagation();
  sendAfterUpload = true;
}, true);
