// socket.io-client with two namespaces on one connection: one that there is, and
// one that there is not.
//
// node unknown_namespace.mjs <address> <the unknown namespace>

import { Manager } from "socket.io-client";
import { say } from "./say.mjs";

const [address, namespace] = process.argv.slice(2);

const manager = new Manager(address, { path: "/events", transports: ["websocket"] });
const unknown = manager.socket(namespace);
const pricings = manager.socket("/pricings");

const refused = new Promise((resolve) => {
  unknown.on("connect_error", (error) => resolve(error.message));
});
const connected = new Promise((resolve) => pricings.on("connect", resolve));

pricings.on("message", (...args) => say({ heard: args }));
pricings.on("disconnect", (reason) => say({ disconnected: reason }));
manager.on("close", (reason) => say({ closed: reason }));

await connected;
say({ ready: true, refused: await refused });
