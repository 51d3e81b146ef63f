// Keeps a copy of all services and pricings in a file, over restarts of itself
// and of the server.
//
// node list_then_watch.mjs [<address>] [<file>]
//
// It lists once, subscribes from the position of that list, and reads anew the
// service that an event names; so an event that comes twice does no harm. The
// file holds {position, services}: the copy, and how far it has heard.
//
// What is not announced (a new name, an archived pricing's deletion, a service
// that has no pricings) shows at the next event of that service, or in a new list.

import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";
import { io } from "socket.io-client";

const [address = "http://127.0.0.1:5403", file = "services.json"] = process.argv.slice(2);
const apiKey = process.env.API_KEY;
const PAGE_SERVICES = 1000;
const PAUSE_MS = 1000;
const CONNECT_LIMIT_MS = 10_000;

let reachable = true;

// By id, which a service keeps when it gets another name.
let services = new Map();
// The position of the last event heard, and the services named since the file
// was written.
let heard;
const changed = new Set();

if (existsSync(file)) {
  const kept = JSON.parse(readFileSync(file, "utf8"));
  services = new Map(kept.services.map((service) => [service.id, service]));
  heard = kept.position;
  console.log(`going on with ${services.size} services`);
} else {
  await list();
}

const socket = io(`${address}/pricings`, {
  path: "/events",
  transports: ["websocket"],
  timeout: CONNECT_LIMIT_MS,
  auth: (send) => send({ since: heard, apiKey }),
});

// One thing after another.
let work = Promise.resolve();
const inTurn = (step) => (work = work.then(step));

socket.on("connect", () => {
  reachable = true;
  console.log("connected");
});

socket.on("message", (event, { position }) => {
  changed.add(event.details.serviceName);
  heard = position;
  inTurn(readChanged);
});

// Where we are without an event.
socket.on("position", (position) => {
  heard = position;
  inTurn(() => changed.size === 0 && keep(heard));
});

socket.on("connect_error", (error) => {
  // The server is not there: the client tries again by itself. Where the server
  // refused, it does not.
  if (socket.active) return cannotReach(error.description?.message || error.message);
  console.error(error.message);
  if (error.message.startsWith("UNAUTHORIZED")) process.exit(1);
  inTurn(async () => {
    // Expired, or of another database: the events since then cannot be had.
    if (error.message.startsWith("POSITION_")) await list();
    else await pause(PAUSE_MS);
    socket.connect();
  });
});

// Sent away by the server itself: here too the client would stay away.
socket.on("disconnect", () => {
  if (!socket.active) setTimeout(() => socket.connect(), PAUSE_MS);
});

// Reads all services, and the position to subscribe from.
async function list() {
  const listed = new Map();
  let position;
  let last;
  for (;;) {
    // Each page begins with the last service of the one before. If it does not,
    // services came or went meanwhile, and one may have been passed over.
    const offset = Math.max(listed.size - 1, 0);
    const page = await get(`/services?limit=${PAGE_SERVICES}&offset=${offset}`);
    if (last && page.body[0]?.id !== last.id) return list();
    // What changes after the first page is heard.
    position ??= page.position;
    for (const service of page.body) listed.set(service.id, service);
    last = page.body.at(-1);
    if (page.body.length < PAGE_SERVICES) break;
  }
  services = listed;
  heard = position;
  changed.clear();
  keep(position);
  console.log(`listed ${services.size} services`);
}

// Reads the services that events named.
async function readChanged() {
  const position = heard;
  const names = [...changed];
  changed.clear();
  if (names.length === 0) return;
  let unknown = false;
  for (const name of names) {
    const { body: service } = await get(`/services/${encodeURIComponent(name)}`);
    let known = false;
    for (const [id, old] of services) {
      if (old.name === name || old.name === service?.name) known = services.delete(id);
    }
    if (service) services.set(service.id, service);
    unknown ||= !known && !service;
    console.log(service ? `read ${name}` : `${name} is gone`);
  }
  // Gone, and never seen by this name: it may be here by an old one.
  if (unknown) await list();
  else keep(position);
}

// A GET's JSON and position, however long that takes; no body where nothing is.
async function get(path) {
  for (;;) {
    try {
      const response = await fetch(address + path, {
        headers: apiKey ? { "x-api-key": apiKey } : {},
        signal: AbortSignal.timeout(30_000),
      });
      reachable = true;
      const position = response.headers.get("event-position");
      if (response.ok) return { body: await response.json(), position };
      if (response.status === 404) return {};
      console.error(`${path}: ${response.status} ${await response.text()}`);
      if (response.status < 500) process.exit(1);
    } catch (error) {
      cannotReach(error.cause?.message || error.message);
    }
    await pause(PAUSE_MS);
  }
}

// Says so once, until the server is there again.
function cannotReach(reason) {
  if (reachable) console.error(`cannot reach ${address}: ${reason}; trying again`);
  reachable = false;
}

// As a whole or not at all, whenever this program ends.
function keep(position) {
  const text = JSON.stringify({ position, services: [...services.values()] });
  writeFileSync(`${file}.new`, text);
  renameSync(`${file}.new`, file);
}
