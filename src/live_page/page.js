"use strict";
// What the parts share: elements, words, requests with a key, the server's clock.

// The page is at api/v1/events/client; a proxy may have put something before it.
const ROOT = new URL("../../../", location.href);
const KEY = "space-events key";
const REQUEST_LIMIT_MS = 30_000;

const byId = (id) => document.getElementById(id);

// An element. What is put into it is text or elements, never markup.
function element(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [attribute, value] of Object.entries(attributes)) made.setAttribute(attribute, value);
  made.append(...children);
  return made;
}

const setText = (place, text) => {
  if (place.textContent !== text) place.textContent = text;
};

const counted = (count, one, many = `${one}s`) => `${count.toLocaleString()} ${count === 1 ? one : many}`;

function duration(ms) {
  if (ms < 10_000) return `${Math.round(ms).toLocaleString()} ms`;
  if (ms < 120_000) return `${Math.round(ms / 1000)} s`;
  return ms < 7_200_000 ? `${Math.round(ms / 60_000)} min` : `${Math.round(ms / 3_600_000)} h`;
}

// Says it where somebody acted; a fault in red.
function sayAt(place, text, isFault = false) {
  setText(place, text);
  place.classList.toggle("fault", isFault && text !== "");
}

// What went wrong, for people: what it means for them, then the server's own sentence.
function wordsFor(error) {
  if (error.name === "TimeoutError") return "The server did not answer in time.";
  if (error instanceof TypeError) return "The server cannot be reached. Is it running?";
  const said = sentence(error.message);
  if (error.status === 401) return key() === null ? "An API key is needed." : "The server does not know this key.";
  if (error.status === 403) return "This key may not do that.";
  if (error.status === 404) return `It is not there any more. ${said}`;
  if (error.status === 503) return "The database is away. Try again in a moment.";
  if (error.status >= 500) return `The server has a fault. ${said}`;
  return said;
}

// `conflict: pricing ‹1.0› already exists` as a sentence.
function sentence(text) {
  const said = text.replace(/^(conflict|not found|invalid|bad request): /, "").replace(/`([^`]*)`/g, "“$1”");
  return `${said[0]?.toUpperCase() ?? ""}${said.slice(1)}${/[.!?]$/.test(said) ? "" : "."}`;
}

// The key, for as long as the tab is open.

const key = () => sessionStorage.getItem(KEY);
const keyForm = byId("key-form");
// What waits for another key.
const onNewKey = [];

function askForKey(reason) {
  setText(byId("key-reason"), reason);
  keyForm.hidden = false;
}

keyForm.addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(KEY, byId("key").value);
  byId("key").value = "";
  byId("forget-key").hidden = false;
  keyForm.hidden = true;
  byId("services-title").focus();
  for (const go of onNewKey) go();
});

byId("forget-key").hidden = key() === null;
byId("forget-key").addEventListener("click", () => {
  sessionStorage.removeItem(KEY);
  location.reload();
});

// Requests.

class Refused extends Error {
  constructor(status, sentence) {
    super(sentence);
    this.status = status;
  }
}

// Asks below api/v1. Throws a Refused with the server's sentence, or what fetch throws.
// A body is {type, text}.
async function request(method, path, body) {
  const headers = {};
  if (key() !== null) headers["x-api-key"] = key();
  if (body !== undefined) headers["content-type"] = body.type;
  const sentAt = Date.now();
  const response = await fetch(new URL(`api/v1/${path}`, ROOT), {
    method, headers, body: body?.text, cache: "no-store", signal: AbortSignal.timeout(REQUEST_LIMIT_MS),
  });
  clock.note(response.headers.get("date"), sentAt, Date.now());
  if (response.ok) return response;
  const answer = await response.json().catch(() => ({}));
  const sentence = typeof answer.error === "string" ? answer.error : `the server answered ${response.status}`;
  if (response.status === 503) health.lookSoon();
  if (response.status === 401) askForKey(key() === null ? "This server asks for an API key." : "The server does not know this key.");
  if (response.status === 403) askForKey(`Another key is needed: ${sentence}.`);
  throw new Refused(response.status, sentence);
}

// A path of names. A browser takes "." and ".." for steps, however they are written.
function pathOf(...names) {
  const step = names.find((name) => name === "." || name === "..");
  if (step !== undefined) throw new Error(`a browser cannot ask for the name “${step}”`);
  return names.map(encodeURIComponent).join("/");
}

// By how much the server's clock is ahead, in milliseconds. Each answer's Date,
// in whole seconds, narrows the bounds; while they allow for none, there is none.
const clock = {
  low: -Infinity,
  high: Infinity,
  note(date, sentAt, receivedAt) {
    const second = Date.parse(date);
    if (Number.isNaN(second)) return;
    // The browser's own times are rounded.
    const low = second - receivedAt - 2;
    const high = second + 1000 - sentAt + 2;
    this.low = Math.max(this.low, low);
    this.high = Math.min(this.high, high);
    // A clock was set.
    if (this.low > this.high) [this.low, this.high] = [low, high];
    if (this.ahead() !== 0) {
      const unsure = Math.ceil((this.high - this.low) / 2);
      setText(byId("clock-hint"), `This machine's clock differs from the server's; the delays are corrected for it, give or take ${unsure} ms.`);
    }
  },
  ahead() {
    return this.low <= 0 && this.high >= 0 ? 0 : (this.low + this.high) / 2;
  },
};
