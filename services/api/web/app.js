// The page at /: asks over the same REST surface as everybody else. What the server says is text, never markup.

const DPI = 110;
const one = (selector, within = document) => within.querySelector(selector);
const MODES = {
  generated: "Written by the model; every claim is held by its quotes",
  extractive: "The documents' own words",
  abstained: "The documents do not hold an answer. This came nearest:",
};

let asking = new AbortController(); // of the question that is being answered

class Problem extends Error {
  constructor(body) {
    super(body.detail || body.title || "The server did not answer.");
    this.code = body.code;
  }
}

async function call(path, { json, ...options } = {}) {
  const headers = { ...options.headers };
  const key = sessionStorage.getItem("key");
  if (key) headers.Authorization = `Bearer ${key}`;
  if (json !== undefined) Object.assign(options, { method: "POST", body: JSON.stringify(json) });
  if (json !== undefined) headers["Content-Type"] = "application/json";
  const response = await fetch(path, { ...options, headers });
  if (response.ok) return response;
  if (response.status === 401) one("#key").hidden = false;
  throw new Problem(await response.json().catch(() => ({ title: `${response.status} ${response.statusText}` })));
}

const get = async (path) => (await call(path)).json();

// The events of a stream, as [name, data]. Raises Problem when it ends with an error.
async function* events(path, options = {}) {
  const response = await call(path, { ...options, headers: { Accept: "text/event-stream" } });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let rest = ""; ; ) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const lines = block.split("\n");
      const field = (name) => lines.filter((line) => line.startsWith(`${name}: `)).map((line) => line.slice(name.length + 2));
      if (!field("data").length) continue; // a heartbeat
      const [name, data] = [field("event")[0], JSON.parse(field("data").join("\n"))];
      if (name === "error") throw new Problem(data);
      yield [name, data];
    }
  }
}

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function complain(error) {
  if (error.name === "AbortError") return;
  one("#problem").textContent = error.message;
  one("#problem").hidden = false;
}

// Runs on an event; what goes wrong is shown.
const on = (target, name, work) =>
  target.addEventListener(name, (event) => {
    if (name === "submit") event.preventDefault();
    one("#problem").hidden = true;
    Promise.resolve(work(event)).catch(complain);
  });

const collection = () => one("#collections").value;

async function ask() {
  asking.abort();
  asking = new AbortController();
  const answer = one("#answer");
  const [mode, text, quotes] = [".mode", ".text", ".quotes"].map((part) => one(part, answer));
  answer.hidden = false;
  one("footer", answer).hidden = one("#page").hidden = true;
  mode.textContent = "Reading …";
  text.textContent = "";
  quotes.replaceChildren();
  const json = { question: one("#question").value, collection: collection() };
  try {
    for await (const [name, data] of events("/v1/answers", { json, signal: asking.signal })) {
      if (name === "delta") text.textContent += data.text;
      if (name === "citation") quotes.append(quoteOf(data));
      if (name === "final") show(data);
    }
  } catch (error) {
    if (error.name !== "AbortError") answer.hidden = true;
    throw error;
  }
}

function show(final) {
  const answer = one("#answer");
  one(".mode", answer).textContent = MODES[final.mode];
  one(".text", answer).textContent = final.abstained ? "" : final.answer;
  const nearest = final.nearest.map(({ text, ...passage }) => ({ ...passage, quote: text, verified: false }));
  const shown = (final.abstained ? nearest : final.citations).map(quoteOf);
  one(".quotes", answer).replaceChildren(...shown);
  one(".verdict", answer).dataset.answer = final.id;
  for (const button of answer.querySelectorAll(".verdict button")) button.disabled = false;
  Object.assign(one(".lineage", answer), { open: false }).dataset.answer = final.id;
  one("footer", answer).hidden = false;
  if (!final.abstained && shown.length) shown[0].firstChild.click();
}

function quoteOf(citation) {
  const place = `${citation.document_name}, page ${citation.page}${citation.verified ? " · verified" : ""}`;
  const button = element("button", { className: citation.verified ? "verified" : "" }, citation.quote, element("small", {}, place));
  button.setAttribute("aria-pressed", "false");
  on(button, "click", async () => {
    for (const other of document.querySelectorAll(".quotes button")) other.setAttribute("aria-pressed", other === button);
    await showPage(citation);
  });
  return element("li", {}, button);
}

async function showPage({ document_id, document_name, page, boxes }) {
  const query = new URLSearchParams({ dpi: DPI });
  for (const box of boxes) query.append("highlight", [box.left, box.top, box.right, box.bottom].join());
  const picture = await (await call(`/v1/documents/${document_id}/pages/${page}.png?${query}`)).blob();
  const [aside, image] = [one("#page"), one("#page img")];
  URL.revokeObjectURL(image.src);
  image.src = URL.createObjectURL(picture);
  image.alt = `Page ${page} of ${document_name}, with the quote marked`;
  one("figcaption", aside).textContent = `${document_name}, page ${page}`;
  aside.hidden = false;
  await image.decode();
  const top = boxes.length ? Math.min(...boxes.map((box) => box.top)) : 0;
  const scale = ((DPI / 72) * image.clientHeight) / image.naturalHeight;
  image.parentElement.scrollTop = top * scale - image.parentElement.clientHeight / 3;
}

async function judge({ target }) {
  if (!target.value) return;
  const verdict = target.closest(".verdict");
  await call(`/v1/answers/${verdict.dataset.answer}/feedback`, { json: { verdict: target.value } });
  for (const button of verdict.querySelectorAll("button")) button.disabled = true;
}

async function showLineage({ target }) {
  if (!target.open) return;
  const lineage = await get(`/v1/lineage/${target.dataset.answer}`);
  one("pre", target).textContent = JSON.stringify(lineage, null, 2);
}

async function listDocuments(after) {
  const query = new URLSearchParams({ collection: collection(), limit: 50, ...(after && { after }) });
  const { data, has_more } = await get(`/v1/documents?${query}`);
  const list = one("#documents ul");
  if (!after) list.replaceChildren();
  list.append(...data.map(documentOf));
  one("#documents .more").hidden = !has_more;
}

function documentOf(about) {
  const state = element("small");
  const remove = element("button", { ariaLabel: `Delete ${about.name}`, title: "Delete" }, "✕");
  const item = element("li", { className: about.status }, element("span", {}, about.name, state), remove);
  item.dataset.id = about.id;
  state.textContent = about.status === "ready" ? `${about.pages} pages` : about.status;
  on(remove, "click", async () => {
    if (!confirm(`Delete ${about.name}? No answer will come from it any more.`)) return;
    await call(`/v1/documents/${about.id}`, { method: "DELETE" });
    item.remove();
  });
  if (["queued", "running"].includes(about.status)) follow(item, state, about.job.id).catch(complain);
  return item;
}

async function follow(item, state, job) {
  const bar = element("progress");
  item.append(bar);
  for await (const [, { status, progress, error }] of events(`/v1/jobs/${job}`)) {
    state.textContent = error ? error.detail : progress.total ? `${status}, ${progress.done} of ${progress.total} pages` : status;
    if (progress.total) Object.assign(bar, { max: progress.total, value: progress.done });
    item.className = status;
  }
  bar.remove();
}

async function upload({ target }) {
  for (const file of [...target.files]) {
    const body = new FormData();
    body.append("file", file);
    body.append("collection", collection());
    const about = await (await call("/v1/documents", { method: "POST", body })).json();
    one(`#documents li[data-id="${about.id}"]`)?.remove();
    one("#documents ul").prepend(documentOf(about));
  }
  target.value = "";
}

async function start() {
  const names = (await get("/v1/collections")).data.map(({ name }) => name);
  const before = collection();
  one("#collections").replaceChildren(...[...new Set(["default", ...names])].map((name) => element("option", {}, name)));
  one("#collections").value = before;
  await listDocuments();
}

on(one("#ask"), "submit", ask);
on(one(".verdict"), "click", judge);
on(one(".lineage"), "toggle", showLineage);
on(one("#documents input"), "change", upload);
on(one("#documents .more"), "click", () => listDocuments(one("#documents li:last-child").dataset.id));
on(one("#collections"), "change", () => listDocuments());
on(one("#key"), "submit", ({ target }) => {
  sessionStorage.setItem("key", target.elements.key.value.trim());
  target.hidden = true;
  return start();
});
start().catch(complain);
