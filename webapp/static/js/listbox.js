// Lists chosen from by keyboard: what is typed into a field with data-picks="ID" narrows the options of that list; arrows move, Enter takes.
const listOf = (field) => document.getElementById(field.dataset.picks);
const options = (field) => [...listOf(field).querySelectorAll("[role=option]:not([hidden])")];
const marked = (field) => listOf(field).querySelector("[aria-selected=true]");
const mark = (field, option) => {
  marked(field)?.setAttribute("aria-selected", "false");
  field.setAttribute("aria-activedescendant", option?.id ?? "");
  option?.setAttribute("aria-selected", "true");
  option?.scrollIntoView({ block: "nearest" });
};
const narrow = (field) => {
  const words = field.value.toLowerCase().split(/\s+/);
  for (const option of listOf(field).querySelectorAll("[role=option]")) {
    const text = (option.dataset.words ?? option.textContent).toLowerCase();
    const absent = option.dataset.run && !document.querySelector(option.dataset.run);
    option.hidden = absent || !words.every((word) => text.includes(word));
  }
  for (const group of listOf(field).querySelectorAll(".picks-group")) group.hidden = !group.querySelector("[role=option]:not([hidden])");
  listOf(field).dataset.count = options(field).length;
  mark(field, options(field)[0]);
};
document.addEventListener("input", (event) => event.target.dataset?.picks && narrow(event.target));
document.addEventListener("htmx:after:swap", (event) => {
  const field = event.target.matches?.("[role=listbox]") && document.querySelector(`[data-picks="${event.target.id}"]`);
  if (field) narrow(field);
});
document.addEventListener("keydown", (event) => {
  const field = event.target.dataset?.picks && !event.isComposing && listOf(event.target).checkVisibility() ? event.target : null;
  const all = field ? options(field) : [];
  const by = { ArrowDown: 1, ArrowUp: -1 } [event.key];
  if (!all.length || !(by || event.key === "Enter")) return;
  event.preventDefault();
  event.stopPropagation();
  if (by) mark(field, all.at((all.indexOf(marked(field)) + by) % all.length));
  else marked(field)?.click();
}, true);
