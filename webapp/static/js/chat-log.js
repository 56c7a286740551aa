// The messages of a conversation: following the newest one, Stop in place of Send, and the state of the connection.
const chat = document.getElementById("chat");
const scroller = document.getElementById("chat-scroll");
const log = document.getElementById("chat-log");
const input = document.getElementById("chat-input");
const notice = document.getElementById("chat-notice");
const offline = document.getElementById("chat-offline");
const newest = document.getElementById("chat-newest");
const NEAR_END = 40; // pixels

// htmx processes the page a tick after its own script, when the websocket extension may not have loaded yet.
htmx.process(chat);

// The log follows its end until the reader scrolls up.
let following = true;
let lastTop = 0;

const follow = (yes) => {
  following = yes;
  newest.hidden = yes;
};
const scrollToEnd = () => {
  scroller.scrollTop = scroller.scrollHeight;
};
scroller.addEventListener("scroll", () => {
  const below = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight;
  const movedUp = scroller.scrollTop < lastTop; // text that arrives also leaves room below, but moves nothing up
  follow(below < NEAR_END || (following && !movedUp));
  lastTop = scroller.scrollTop;
}, { passive: true });
new ResizeObserver(() => {
  if (following) scrollToEnd();
}).observe(log);
newest.addEventListener("click", () => {
  follow(true);
  scrollToEnd();
  input.focus();
});
scrollToEnd();

// Stop takes the place of Send while an answer streams. The button with the focus may disappear: the message box takes it.
const updateBusy = () => {
  chat.toggleAttribute("data-busy", log.querySelector("[data-status=streaming]") !== null);
  const lost = document.activeElement.matches("body, .chat[data-busy] .send, .chat:not([data-busy]) .stop");
  if (lost && !matchMedia("(pointer: coarse)").matches) input.focus();
};
updateBusy();

document.addEventListener("htmx:after:ws:message", (event) => {
  const message = event.detail.message.json;
  if (message?.sent !== undefined) follow(true);
  const states = message?.content?.match(/data-status="\w+/g);
  if (!states) return;
  updateBusy();
  if (states.every((state) => state.endsWith("streaming"))) return;
  notice.replaceChildren(); // notices are about the answer that was being written
  htmx.trigger(document.body, "answered");
});

document.addEventListener("htmx:ws:close", () => {
  offline.hidden = document.hidden; // a page in the background closes its connection on purpose
});
document.addEventListener("htmx:ws:error", () => {
  offline.hidden = false;
});
document.addEventListener("htmx:after:ws:connection", () => {
  offline.hidden = true;
});
