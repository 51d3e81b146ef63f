// Prints every event, and goes on where it stopped when it is started again.
//
// node subscribe.mjs [<address>] [<file for the position>]

import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { io } from "socket.io-client";

const [address = "http://127.0.0.1:5403", file = "position.txt"] = process.argv.slice(2);
const PAUSE_MS = 1000;
const CONNECT_LIMIT_MS = 10_000;

// Behind the last event that was dealt with; "": from now on.
let since = existsSync(file) ? readFileSync(file, "utf8") : "";

const socket = io(`${address}/pricings`, {
  path: "/events",
  transports: ["websocket"],
  timeout: CONNECT_LIMIT_MS,
  // A function: it is asked at each connection, and so tells where we are then.
  auth: (send) => send({ since, apiKey: process.env.API_KEY }),
});

let reachable = true;

socket.on("connect", () => {
  reachable = true;
  console.error(since ? "connected, going on" : "connected, from now on");
});

socket.on("message", (event, { position }) => {
  console.log(JSON.stringify(event));
  // Kept when the event was dealt with: after a crash it may come again, but it
  // is never left out.
  since = position;
  keep(position);
});

// Where we are without an event: first right after connecting.
socket.on("position", (position) => {
  since = position;
  keep(position);
});

socket.on("connect_error", (error) => {
  // The server is not there: the client tries again by itself. Said once.
  if (socket.active) {
    const reason = error.description?.message || error.message;
    if (reachable) console.error(`cannot reach ${address}: ${reason}; trying again`);
    reachable = false;
    return;
  }
  // The server refused: then the client does not try again by itself.
  console.error(error.message);
  if (error.message.startsWith("UNAUTHORIZED")) process.exit(1);
  if (error.message.startsWith("POSITION_")) {
    // Expired, of another database, or of one that went back. Events may be lost: whoever keeps a state
    // reads it anew now (list_then_watch.mjs). Here, on from now.
    since = "";
  }
  setTimeout(() => socket.connect(), PAUSE_MS);
});

socket.on("disconnect", (reason) => {
  console.error(`disconnected: ${reason}`);
  // The server itself sent us away: as above.
  if (!socket.active) setTimeout(() => socket.connect(), PAUSE_MS);
});

// As a whole or not at all, whenever this program ends.
function keep(position) {
  writeFileSync(`${file}.new`, position);
  renameSync(`${file}.new`, file);
}
