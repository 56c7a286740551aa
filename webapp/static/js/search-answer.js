// The answer above the results: asked for after the results are shown, streamed, stopped by a button or by another search.
const MAX_PASSAGES = 8;
const box = document.getElementById("answer");
const text = box.querySelector("[data-answer-text]");
const status = box.querySelector("[data-answer-status]");
const start = box.querySelector("[data-answer-start]");
const stop = box.querySelector("[data-answer-stop]");
const enabled = document.querySelector("[data-answer-enabled]");
const field = document.getElementById("search-input");
const results = document.getElementById("results");
let running = null;
let submitted = false;

const passages = () => [...results.querySelectorAll("[data-results] [name=passage]")].slice(0, MAX_PASSAGES).map(({ value }) => value);

const show = (state) => {
  start.hidden = state === "running";
  stop.hidden = state !== "running";
  text.setAttribute("aria-busy", state === "running");
};

const clear = () => {
  running?.abort();
  running = null;
  text.replaceChildren();
  status.textContent = "";
  show("idle");
  box.hidden = !(enabled.checked && field.value.trim() && passages().length > 0);
};

const draw = {
  blocks: (blocks) => {
    for (const [number, html] of blocks) {
      while (text.children.length <= number) text.append(document.createElement("div"));
      text.children[number].innerHTML = html;
    }
  },
  restart: () => text.replaceChildren(),
  end: (html) => {
    status.innerHTML = html;
  },
  error: (message) => {
    status.textContent = `No answer: ${message} The results below are not affected.`;
  },
};

const linesOf = async function*(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    const lines = (rest + part.value).split("\n");
    rest = lines.pop();
    yield* lines;
  }
};

const receive = async (signal) => {
  const body = new FormData();
  body.append("q", field.value);
  for (const id of passages()) body.append("passage", id);
  const headers = { "X-CSRFToken": box.dataset.csrf };
  const response = await fetch(box.dataset.url, { method: "POST", body, headers, signal });
  if (!response.ok) throw new Error(`the server answered ${response.status}.`);
  let ended = false;
  for await (const line of linesOf(response)) {
    for (const [kind, value] of Object.entries(JSON.parse(line))) {
      draw[kind](value);
      ended ||= kind === "end" || kind === "error";
    }
  }
  if (!ended) throw new Error("the connection broke.");
};

const write = async () => {
  clear();
  if (box.hidden) return;
  const control = new AbortController();
  running = control;
  show("running");
  status.textContent = "Reading the passages …";
  try {
    await receive(control.signal);
  } catch (error) {
    if (running !== control) return;
    if (error.name === "AbortError") status.textContent = "Stopped";
    else draw.error(error.message);
  }
  if (running !== control) return;
  running = null;
  show("idle");
};

start.addEventListener("click", write);
stop.addEventListener("click", () => running?.abort());
enabled.addEventListener("change", clear);
field.form.addEventListener("input", () => {
  submitted = false;
});
field.form.addEventListener("submit", () => {
  submitted = true;
});

// While the user types, the answer is only offered: each one costs a call. Enter asks for it.
document.addEventListener("htmx:after:settle", ({ target }) => {
  if (target !== results) return;
  if (submitted) write();
  else clear();
  submitted = false;
});
write();
