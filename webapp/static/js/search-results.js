// Keys on the search page: "/" goes to the field, j and k or the arrows move through the results, Enter opens the focused one.
const field = document.getElementById("search-input");
const results = document.getElementById("results");
const count = document.getElementById("results-count");
const STEPS = { j: 1, k: -1, ArrowDown: 1, ArrowUp: -1 };

// Results in a closed <details> cannot be seen, so the keys pass them over.
const links = () => [...results.querySelectorAll("[data-result]")].filter((link) => link.checkVisibility());

const isTyping = ({ key, target }) => target.matches("input:not([type=checkbox]), textarea, select") &&
  !(target === field && key === "ArrowDown");

const move = (step) => {
  const found = links();
  const current = found.findIndex((link) => link.closest(".result").contains(document.activeElement));
  if (step < 0 && current === 0) return field.focus();
  const next = found[Math.min(current + step, found.length - 1)];
  if (current < 0 && step < 0) return undefined;
  next?.focus();
  return next?.closest(".result").scrollIntoView({ block: "nearest" });
};

document.addEventListener("keydown", (event) => {
  const modified = event.ctrlKey || event.metaKey || event.altKey;
  if (modified || event.isComposing || document.querySelector("dialog[open]") || isTyping(event)) return;
  if (event.key === "/") {
    event.preventDefault();
    field.focus();
    field.select();
  } else if (STEPS[event.key] && links().length > 0) {
    event.preventDefault();
    move(STEPS[event.key]);
  }
});

// A failed search leaves the results of the query before it, and says so.
const failure = document.getElementById("search-error");
const fail = ({ detail: { ctx, error } }) => {
  if (ctx?.sourceElement === field.form && error?.name !== "AbortError") failure.hidden = false;
};
document.addEventListener("htmx:response:error", fail);
document.addEventListener("htmx:error", fail);
failure.querySelector("[data-search-again]").addEventListener("click", () => field.form.requestSubmit());

// Screen readers hear how many results there are, not all of them.
document.addEventListener("htmx:after:settle", ({ target }) => {
  if (target !== results) return;
  failure.hidden = true;
  const number = links().length;
  if (field.value.trim()) count.textContent = number ? `${number} results` : "Nothing matches";
});
