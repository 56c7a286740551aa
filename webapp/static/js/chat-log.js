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
if (chat.dataset.linked) follow(false);
else scrollToEnd();

// Messages that are loaded above move nothing that is being read. Browsers do this by themselves only below the very top.
let anchor = null;
let anchorTop = 0;
log.addEventListener("htmx:before:swap", (event) => {
  if (!event.target.matches(".earlier")) return;
  anchor = event.target.nextElementSibling;
  anchorTop = anchor?.getBoundingClientRect().top;
});
new MutationObserver(() => {
  if (!anchor?.isConnected) return;
  scroller.scrollTop += anchor.getBoundingClientRect().top - anchorTop;
  anchor = null;
}).observe(log, { childList: true });

// Messages show when they were written, in the reader's own time zone.
const HOUR_FORMAT = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const DAY_FORMAT = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit" });
const showTimes = () => {
  const today = new Date().toDateString();
  for (const time of log.querySelectorAll("time:empty")) {
    const written = new Date(time.dateTime);
    time.textContent = (written.toDateString() === today ? HOUR_FORMAT : DAY_FORMAT).format(written);
    time.title = DAY_FORMAT.format(written);
  }
};
showTimes();
new MutationObserver(showTimes).observe(log, { childList: true });

// The tab is named like the conversation.
const head = document.getElementById("chat-head");
new MutationObserver(() => {
  const title = document.getElementById("chat-title")?.textContent;
  if (title) document.title = `${title} · Patchbay`;
}).observe(head, { childList: true, subtree: true, characterData: true });

// A refused action says why.
document.addEventListener("htmx:response:error", (event) => {
  const { response, text } = event.detail.ctx;
  if (response.status !== 409 && response.status !== 422) return;
  const paragraph = document.createElement("p");
  paragraph.className = "notice";
  paragraph.dataset.level = "warning";
  paragraph.setAttribute("role", "alert");
  paragraph.textContent = text;
  notice.replaceChildren(paragraph);
});

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
  showTimes();
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
