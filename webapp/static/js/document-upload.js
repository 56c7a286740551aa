// Uploads to a collection: chosen or dropped files and folders are sent in portions, so that hundreds of files fit any limit of a request.
const PORTION_FILES = 20;
const PORTION_BYTES = 16 * 1024 * 1024;
const ATTEMPTS = 3;
const PAUSE_MS = 1000;

const form = document.querySelector("[data-upload]");
const status = form.querySelector("[data-upload-status]");
const again = form.querySelector("[data-upload-again]");
const queue = [];
let upload = null;
let sending = false;

const fileOf = (entry) => new Promise((resolve, reject) => entry.file(resolve, reject));
const nextEntries = (reader) => new Promise((resolve, reject) => reader.readEntries(resolve, reject));
const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

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

const nextPortion = () => {
  const portion = [];
  let bytes = 0;
  for (const item of queue) {
    if (portion.length === PORTION_FILES || (portion.length > 0 && bytes + item.file.size > PORTION_BYTES)) break;
    portion.push(item);
    bytes += item.file.size;
  }
  return portion;
};

// Browsers leave the files' paths in their folder out of a form, so they are sent in a field of their own.
const bodyOf = (portion, announced) => {
  const body = new FormData();
  for (const { file } of portion) body.append("files", file);
  body.append("paths", JSON.stringify(portion.map(({ path }) => path)));
  body.append("announced", announced);
  if (upload) body.append("upload", upload);
  return body;
};

const post = async (body) => {
  const csrf = form.elements.csrfmiddlewaretoken.value;
  const headers = { Accept: "application/json", "X-CSRFToken": csrf };
  const response = await fetch(form.action, { method: "POST", body, headers });
  if (!response.ok) throw new Error(`the server answered ${response.status}`);
  return response.json();
};

const postWithRetries = async (body) => {
  for (let attempt = 1;; attempt++) {
    try {
      return await post(body);
    } catch (error) {
      if (attempt === ATTEMPTS) throw error;
      await pause(PAUSE_MS * attempt);
    }
  }
};

const refresh = () => htmx.ajax("GET", form.dataset.list + location.search, { target: "#documents", swap: "innerMorph" });

const sendAll = async () => {
  if (sending) return;
  sending = true;
  again.hidden = true;
  let sent = 0;
  try {
    while (queue.length > 0) {
      const total = sent + queue.length;
      status.textContent = total > 1 ? `Sending ${sent} of ${total} files …` : "Sending the file …";
      const portion = nextPortion();
      const answer = await postWithRetries(bodyOf(portion, total));
      upload = answer.upload;
      queue.splice(0, portion.length);
      if (sent === 0) refresh();
      sent += portion.length;
    }
    status.textContent = "";
    upload = null;
  } catch (error) {
    status.textContent = `${queue.length} of ${sent + queue.length} files could not be sent: ${error.message}.`;
    again.hidden = false;
  }
  sending = false;
  refresh();
};

const add = (found) => {
  queue.push(...found);
  sendAll();
};

form.addEventListener("change", (event) => {
  const { files } = event.target;
  add(Array.from(files, (file) => ({ file, path: file.webkitRelativePath || file.name })));
  event.target.value = "";
});

form.addEventListener("drop", async (event) => {
  const entries = Array.from(event.dataTransfer.items, (item) => item.webkitGetAsEntry());
  if (!entries.some((entry) => entry?.isDirectory)) return;
  event.preventDefault();
  const found = await Promise.all(entries.map(filesIn));
  add(found.flat());
}, true);

again.addEventListener("click", sendAll);
window.addEventListener("beforeunload", (event) => {
  if (queue.length > 0) event.preventDefault();
});
