// Lists operated from a text field: data-picks="ID" on the field narrows the options of that list; arrows move, Enter chooses.
const OPTION = "[role=option]";
const VISIBLE_OPTION = `${OPTION}:not([hidden])`;

const listOf = (field) => document.getElementById(field.dataset.picks);
const visibleOptions = (field) => [...listOf(field).querySelectorAll(VISIBLE_OPTION)];
const selectedOption = (field) => listOf(field).querySelector("[aria-selected=true]");

const select = (field, option) => {
  selectedOption(field)?.setAttribute("aria-selected", "false");
  field.setAttribute("aria-activedescendant", option?.id ?? "");
  option?.setAttribute("aria-selected", "true");
  option?.scrollIntoView({ block: "nearest" });
};

// An option whose command has no target on this page stays hidden.
const matches = (option, words) => {
  if (option.closest("[data-matched]")) return true; // the server matched it
  if (option.dataset.run && !document.querySelector(option.dataset.run)) return false;
  const text = (option.dataset.words ?? option.textContent).toLowerCase();
  return words.every((word) => text.includes(word));
};

const narrow = (field) => {
  const list = listOf(field);
  const words = field.value.toLowerCase().split(/\s+/);
  for (const option of list.querySelectorAll(OPTION)) option.hidden = !matches(option, words);
  for (const group of list.querySelectorAll(".picks-group")) group.hidden = !group.querySelector(VISIBLE_OPTION);
  const options = visibleOptions(field);
  list.dataset.count = options.length;
  select(field, options[0]);
};

document.addEventListener("input", (event) => {
  if (event.target.dataset?.picks) narrow(event.target);
});
document.addEventListener("htmx:after:swap", (event) => {
  const changed = event.detail?.ctx?.target ?? event.target;
  const list = changed.closest?.("[role=listbox]");
  const field = list && document.querySelector(`[data-picks="${list.id}"]`);
  if (field) narrow(field);
});

const STEPS = { ArrowDown: 1, ArrowUp: -1 };
document.addEventListener("keydown", (event) => {
  const field = event.target;
  if (!field.dataset?.picks || event.isComposing || !listOf(field).checkVisibility()) return;
  const step = STEPS[event.key];
  const options = visibleOptions(field);
  if (options.length === 0 || !(step || event.key === "Enter")) return;
  event.preventDefault();
  event.stopPropagation();
  if (!step) {
    selectedOption(field)?.click();
    return;
  }
  const next = options.indexOf(selectedOption(field)) + step;
  select(field, options.at(next % options.length));
}, true);
