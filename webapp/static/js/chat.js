// The chat page: what htmx and CSS cannot do. Keys, drafts, the address of a new chat, staying at the end of the log.
const byId = (id) => document.getElementById(id);
const [chat, composer, scroll, log] = ["chat", "composer", "chat-scroll", "chat-log"].map(byId);
const [input, file, offline] = ["chat-input", "chat-file", "chat-offline"].map(byId);
const draft = "draft-" + chat.dataset.draft;
htmx.process(chat); // htmx reads the page a tick after its own script, and then the websocket extension may still be on its way
input.value ||= localStorage.getItem(draft) ?? "";
input.addEventListener("input", () => localStorage.setItem(draft, input.value));
input.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  composer.requestSubmit();
});
// A question is cleared when the server says that it has it, not before.
document.addEventListener("htmx:after:ws:message", (event) => {
  const sent = event.detail.message.json?.sent;
  if (sent === undefined) return;
  if (input.value.trim() === sent.trim()) input.value = "";
  localStorage.removeItem(draft);
  byId("chat-chips").replaceChildren();
  composer.querySelectorAll("[name=compare]").forEach((box) => (box.checked = false));
  if (location.pathname !== chat.dataset.url) history.replaceState(null, "", chat.dataset.url);
  end = true;
});
// Stop stands in Send's place while an answer is being written; the meter counts again when it is whole. What was pressed may be gone then.
const busy = () => {
  chat.toggleAttribute("data-busy", log.querySelector("[data-status=streaming]") !== null);
  if (document.activeElement.matches("body, .chat[data-busy] .send, .chat:not([data-busy]) .stop") && !matchMedia("(pointer: coarse)").matches) input.focus();
};
document.addEventListener("htmx:after:ws:message", (event) => {
  const states = event.detail.message.json?.content?.match(/data-status="\w+/g);
  if (states) busy();
  if (states?.some((state) => !state.endsWith("streaming"))) htmx.trigger(document.body, "answered");
});
busy();
document.addEventListener("htmx:ws:close", () => (offline.hidden = document.hidden));
document.addEventListener("htmx:ws:error", () => (offline.hidden = false));
document.addEventListener("htmx:after:ws:connection", () => (offline.hidden = true));

// Pasted and dropped files go where chosen ones go.
const take = (event, data) => {
  if (!data?.files.length) return;
  event.preventDefault();
  file.files = data.files;
  file.dispatchEvent(new Event("change", { bubbles: true }));
};
input.addEventListener("paste", (event) => take(event, event.clipboardData));
chat.addEventListener("dragover", (event) => event.preventDefault());
chat.addEventListener("drop", (event) => take(event, event.dataTransfer));

// The log follows its end only while the reader is there.
let end = true,
  top = 0;
const toEnd = () => end && (scroll.scrollTop = scroll.scrollHeight);
scroll.addEventListener("scroll", () => {
  const left = scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight;
  end = left < 40 || (end && scroll.scrollTop >= top); // what came meanwhile is below: only going up is leaving
  top = scroll.scrollTop;
}, { passive: true });
new ResizeObserver(toEnd).observe(log);
toEnd();
