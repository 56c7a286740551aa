// Copy buttons. data-copy="ID" copies the element with that id, "code" the code block around the button and "text" the message around it;
// data-copy-url copies the answer of that address. The button confirms it for two seconds.
const AROUND = { code: ".code", text: ".message" };
const SHOWN_MS = 2000;

const sourceOf = (button) => {
  const { copy } = button.dataset;
  if (AROUND[copy]) return button.closest(AROUND[copy]).querySelector("pre, .bubble");
  return document.getElementById(copy);
};

const textOf = async (button) => {
  const { copyUrl } = button.dataset;
  if (copyUrl) return (await fetch(copyUrl)).text();
  const source = sourceOf(button);
  return source.value ?? source.textContent;
};

// A button with an icon alone has no label to change: a check mark appears beside the icon.
const labelOf = (button) => button.querySelector("[data-copy-label]") ?? (button.querySelector("svg") ? null : button);

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy], [data-copy-url]");
  if (!button) return;
  const label = labelOf(button);
  const before = label?.textContent;
  const show = (text) => {
    if (label) label.textContent = text;
    else button.classList.add("copied");
  };
  try {
    await navigator.clipboard.writeText(await textOf(button));
    show("Copied");
  } catch {
    const source = sourceOf(button);
    if (source) getSelection().selectAllChildren(source);
    show("Press Ctrl+C");
  }
  setTimeout(() => {
    if (label) label.textContent = before;
    else button.classList.remove("copied");
  }, SHOWN_MS);
});
