// Folders, chosen or dropped: their files go up with the paths that they have there, which browsers leave out of a form.
const send = (form, found) => {
  const files = new DataTransfer();
  for (const [file] of found) files.items.add(file);
  form.elements.files.files = files.files;
  form.elements.paths.value = JSON.stringify(found.map(([, path]) => path));
  form.requestSubmit();
};
const within = async (entry) => {
  if (entry.isFile) return [
    [await new Promise((ok, no) => entry.file(ok, no)), entry.fullPath.slice(1)]
  ];
  const reader = entry.createReader(),
    found = [];
  for (let some;
    (some = await new Promise((ok, no) => reader.readEntries(ok, no))).length;)
    for (const each of some) found.push(...(each.name.startsWith(".") ? [] : await within(each)));
  return found;
};
document.addEventListener("change", (event) => {
  const { form, files, name, webkitdirectory } = event.target;
  if (name === "files") form.elements.paths.value = "";
  if (!webkitdirectory) return;
  event.stopPropagation();
  send(form, Array.from(files, (file) => [file, file.webkitRelativePath]));
}, true);
document.addEventListener("drop", async (event) => {
  const entries = Array.from(event.dataTransfer.items, (item) => item.webkitGetAsEntry());
  if (event.target.name !== "files" || !entries.some((entry) => entry?.isDirectory)) return;
  event.preventDefault();
  send(event.target.form, (await Promise.all(entries.map(within))).flat());
}, true);
