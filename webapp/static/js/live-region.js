// Screen readers hear each block of an answer once it is whole, never its tokens: a hidden polite region gets its text.
const log = document.getElementById("chat-log");
const said = document.getElementById("chat-said");
const last = () => [...log.getElementsByClassName("message-assistant")].at(-1);
const whole = (article) => {
  const blocks = [...article.querySelectorAll(".part-text .block, .part-tool .block")];
  return article.dataset.status === "streaming" ? blocks.slice(0, -1) : blocks;
};
let heard = last()?.id,
  count = heard ? whole(last()).length : 0,
  timer = 0;
const look = () => {
  timer = 0;
  const article = last();
  if (!article) return;
  if (article.id !== heard)[heard, count] = [article.id, 0];
  for (const block of whole(article).slice(count)) {
    said.append(Object.assign(document.createElement("p"), { textContent: block.textContent }));
    count++;
  }
  while (said.childElementCount > 20) said.firstElementChild.remove();
};
document.addEventListener("htmx:after:ws:message", () => (timer ||= setTimeout(look, 400)));
