// A click on data-model="NAME", in the list of models or in the menu of "/", chooses that model.
const picker = document.getElementById("route-picker");

document.addEventListener("click", (event) => {
  const option = event.target.closest("[data-model]");
  if (!option) return;
  picker.value = option.dataset.model;
  picker.dispatchEvent(new Event("change", { bubbles: true }));
  option.closest("dialog")?.close();
});
