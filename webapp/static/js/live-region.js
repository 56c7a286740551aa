// Screen readers hear each block of an answer once it is complete, not its tokens: a hidden live region receives its text.
const log = document.getElementById("chat-log");
const region = document.getElementById("chat-announcements");
const DELAY_MS = 400;
const MAX_ANNOUNCEMENTS = 20;

const lastAnswer = () => [...log.getElementsByClassName("message-assistant")].at(-1);
const completeBlocks = (answer) => {
  const blocks = [...answer.querySelectorAll(".part-text .block, .part-tool .block")];
  return answer.dataset.status === "streaming" ? blocks.slice(0, -1) : blocks;
};

let announcedId = lastAnswer()?.id;
let announced = announcedId ? completeBlocks(lastAnswer()).length : 0;
let timer = null;

const announce = () => {
  timer = null;
  const answer = lastAnswer();
  if (!answer) return;
  if (answer.id !== announcedId) {
    announcedId = answer.id;
    announced = 0;
  }
  for (const block of completeBlocks(answer).slice(announced)) {
    const paragraph = document.createElement("p");
    paragraph.textContent = block.textContent;
    region.append(paragraph);
    announced++;
  }
  while (region.childElementCount > MAX_ANNOUNCEMENTS) region.firstElementChild.remove();
};

document.addEventListener("htmx:after:ws:message", () => {
  timer ??= setTimeout(announce, DELAY_MS);
});
