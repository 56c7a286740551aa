// Folders that are chosen or dropped: browsers leave the files' paths out of a form, so they are sent in a field of their own.
const send = (form, found) => {
  const transfer = new DataTransfer();
  for (const { file } of found) transfer.items.add(file);
  form.elements.files.files = transfer.files;
  form.elements.paths.value = JSON.stringify(found.map(({ path }) => path));
  form.requestSubmit();
};

const fileOf = (entry) => new Promise((resolve, reject) => entry.file(resolve, reject));
const nextEntries = (reader) => new Promise((resolve, reject) => reader.readEntries(resolve, reject));

// A folder lists its entries in portions; an empty portion is the end. Hidden files and folders are skipped.
const filesIn = async (entry) => {
  if (entry.isFile) return [{ file: await fileOf(entry), path: entry.fullPath.slice(1) }];
  const reader = entry.createReader();
  const found = [];
  let portion = await nextEntries(reader);
  while (portion.length > 0) {
    for (const child of portion) {
      if (!child.name.startsWith(".")) found.push(...(await filesIn(child)));
    }
    portion = await nextEntries(reader);
  }
  return found;
};

document.addEventListener("change", (event) => {
  const { form, files, name, webkitdirectory } = event.target;
  if (name === "files") form.elements.paths.value = "";
  if (!webkitdirectory) return;
  event.stopPropagation();
  send(form, Array.from(files, (file) => ({ file, path: file.webkitRelativePath })));
}, true);

document.addEventListener("drop", async (event) => {
  const entries = Array.from(event.dataTransfer.items, (item) => item.webkitGetAsEntry());
  if (event.target.name !== "files" || !entries.some((entry) => entry?.isDirectory)) return;
  event.preventDefault();
  const found = await Promise.all(entries.map(filesIn));
  send(event.target.form, found.flat());
}, true);
