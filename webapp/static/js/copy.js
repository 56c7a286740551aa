// Copy buttons: a code block, a message, or what an address answers.
(() => {
  const source = {
    code: (button) => button.closest(".code").querySelector("pre").textContent,
    text: (button) => button.closest(".message").querySelector("[data-testid=message-text]").textContent,
  };
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy], [data-copy-url]");
    if (!button) return;
    const { copy, copyUrl } = button.dataset;
    const text = copy ? source[copy](button) : await (await fetch(copyUrl)).text();
    await navigator.clipboard.writeText(text);
    button.classList.add("copied");
    setTimeout(() => button.classList.remove("copied"), 1500);
  });
})();
