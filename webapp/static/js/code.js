// The buttons of code blocks: wrap the lines, download the code. copy.js copies it.
const EXTENSIONS = { python: "py", javascript: "js", typescript: "ts", bash: "sh", shell: "sh", markdown: "md", rust: "rs", ruby: "rb", csharp: "cs", mermaid: "mmd", text: "txt" };
document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-code]");
  if (!button) return;
  const block = button.closest(".code");
  if (button.dataset.code === "wrap") {
    const wraps = block.toggleAttribute("data-wrap");
    button.setAttribute("aria-pressed", wraps);
    return;
  }
  const language = block.querySelector(".code-language").textContent.toLowerCase();
  const extension = EXTENSIONS[language] ?? (/^[a-z0-9]{1,8}$/.test(language) ? language : "txt");
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([block.querySelector("pre").textContent], { type: "text/plain" }));
  link.download = `code.${extension}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
});
