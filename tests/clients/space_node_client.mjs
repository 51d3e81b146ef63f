// space-node-client, as its README shows it.
//
// node space_node_client.mjs <address>

import { connect } from "space-node-client";
import { say } from "./say.mjs";

// The client tells people that it is connected, where our lines go.
console.log = () => {};

const [url] = process.argv.slice(2);
const client = connect({ url, apiKey: "a key that nobody asks for" });

for (const event of ["pricing_created", "pricing_archived", "pricing_actived", "service_disabled"]) {
  client.on(event, (...args) => say({ heard: [event, ...args] }));
}
client.on("error", (error) => say({ refused: error.message }));
client.on("synchronized", async () => {
  say({ ready: true, healthcheck: await client.isConnectedToSpace() });
});
