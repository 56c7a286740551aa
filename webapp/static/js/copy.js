// Copy buttons: data-copy="ID" copies the element of that id, "code" the code block around the button, "text" the message around it;
// data-copy-url copies what an address answers. The button says so for a moment.
document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy], [data-copy-url]");
  if (!button) return;
  const { copy, copyUrl } = button.dataset;
  const around = { code: ".code", text: ".message" } [copy];
  const source = around ? button.closest(around).querySelector("pre, .bubble") : document.getElementById(copy);
  const label = button.querySelector("[data-copy-label]") ?? (button.querySelector("svg") ? null : button);
  const before = label?.textContent;
  const say = (text) => (label ? (label.textContent = text) : button.classList.add("copied"));
  try {
    const text = copyUrl ? await (await fetch(copyUrl)).text() : (source.value ?? source.textContent);
    await navigator.clipboard.writeText(text);
    say("Copied");
  } catch {
    if (source) getSelection().selectAllChildren(source);
    say("Press Ctrl+C");
  }
  setTimeout(() => (label ? (label.textContent = before) : button.classList.remove("copied")), 2000);
});
