// Questions before something is deleted or stopped: data-confirm on a form or its button, hx-confirm on an htmx element.
const dialog = document.getElementById("confirm");
const question = dialog.querySelector("[data-question]");
const accept = dialog.querySelector("[value=yes]");

// The dialog's button repeats the one that was pressed; an icon alone has its name in aria-label.
const labelOf = (element) => element?.dataset.confirmLabel ?? (element?.innerText.trim() || element?.ariaLabel);

const ask = (text, label) => new Promise((resolve) => {
  question.textContent = text;
  accept.textContent = label || "Continue";
  dialog.returnValue = "";
  dialog.showModal();
  dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
});

document.addEventListener("htmx:confirm", (event) => {
  const { ctx, issueRequest, dropRequest } = event.detail;
  event.preventDefault();
  ask(ctx.confirm, labelOf(ctx.sourceElement)).then((yes) => (yes ? issueRequest() : dropRequest()));
});

const confirmed = new WeakSet();
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (confirmed.delete(form)) return;
  const { submitter } = event;
  const text = submitter?.dataset.confirm ?? form.dataset.confirm;
  if (!text) return;
  event.preventDefault();
  event.stopImmediatePropagation();
  ask(text, labelOf(submitter)).then((yes) => {
    if (!yes) return;
    confirmed.add(form);
    form.requestSubmit(submitter);
  });
}, true);
