// Diagrams and previews: code blocks with data-preview get a sandboxed frame without network in the place of their code.
// Mermaid is drawn as soon as the answer is whole, HTML and SVG on request; the source is one click away.
const log = document.querySelector(".chat-log");
const frames = new WeakMap();
const isDark = () => {
  const theme = document.documentElement.dataset.theme;
  return theme === "dark" || (theme !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);
};

function show(block, drawn) {
  block.querySelector("pre").hidden = drawn;
  const frame = block.querySelector("iframe");
  if (frame) frame.hidden = !drawn;
  const button = block.querySelector("button[data-preview-toggle]");
  button.textContent = drawn ? "Source" : "Preview";
}

function draw(block) {
  if (!block.querySelector("iframe")) {
    const frame = document.createElement("iframe");
    frame.className = "preview";
    frame.title = block.dataset.preview === "mermaid" ? "Diagram" : "Preview";
    frame.setAttribute("sandbox", "allow-scripts");
    frame.src = `/chat/preview/${block.dataset.preview}/`;
    frames.set(frame, block);
    block.querySelector("pre").before(frame);
  }
  show(block, true);
}

function add(block) {
  const button = document.createElement("button");
  button.type = "button";
  button.dataset.previewToggle = "";
  button.textContent = "Preview";
  block.querySelector(".code-buttons").prepend(button);
  button.addEventListener("click", () => (block.querySelector("iframe:not([hidden])") ? show(block, false) : draw(block)));
  if (block.dataset.preview === "mermaid") draw(block);
}

function scan() {
  for (const block of document.querySelectorAll(".code[data-preview]")) {
    if (!block.querySelector("[data-preview-toggle]") && !block.closest("[data-status=streaming]")) add(block);
  }
}

addEventListener("message", (event) => {
  const frame = [...document.querySelectorAll("iframe.preview")].find((one) => one.contentWindow === event.source);
  const block = frame && frames.get(frame);
  if (!block) return;
  const { ready, height, error } = event.data;
  if (ready) frame.contentWindow.postMessage({ source: block.querySelector("pre").textContent, dark: isDark() }, "*");
  if (height) frame.style.height = `${Math.min(Math.max(height, 40), 2000)}px`;
  if (error) {
    frame.remove();
    show(block, false);
    block.querySelector("[data-preview-toggle]").remove();
    const note = document.createElement("p");
    note.className = "preview-error small muted";
    note.dataset.previewToggle = ""; // it stands in the button's place: no second try
    note.textContent = `This could not be drawn: ${error.split("\n")[0]}`;
    block.append(note);
  }
});
new MutationObserver(scan).observe(log, { childList: true, subtree: true });
scan();
