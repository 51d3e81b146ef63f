// socket.io-client, as its users write it.
//
// node socket_io_client.mjs <address> [<options as JSON>]

import { io } from "socket.io-client";
import { say } from "./say.mjs";

const [address, options = "{}"] = process.argv.slice(2);

const socket = io(`${address}/pricings`, {
  path: "/events",
  ...JSON.parse(options),
});

socket.on("connect", () => {
  const { engine } = socket.io;
  engine.on("upgrade", (transport) => say({ transport: transport.name }));
  say({ ready: true, transport: engine.transport.name });
});
socket.on("message", (...args) => say({ heard: args }));
socket.on("connect_error", (error) => say({ refused: error.message }));
socket.on("disconnect", (reason) => say({ disconnected: reason }));
