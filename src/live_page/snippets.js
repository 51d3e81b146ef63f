// Clients to copy: with this host, the key, a position, and what is followed.

const LANGUAGES = ["JavaScript", "Python", "curl"];
const MASK = "•".repeat(8);

// What a client says in its handshake, in the words of the protocol.
function handshakeOf({ apiKey, services, codes }) {
  const said = {};
  if (apiKey !== null) said.apiKey = apiKey;
  if (services.length > 0) said.services = services;
  if (codes.length > 0) said.codes = codes;
  return said;
}

// A text in quotes, as JavaScript and Python both read it.
const quoted = (text) => JSON.stringify(text).replaceAll("\u2028", "\\u2028").replaceAll("\u2029", "\\u2029");

const writeClient = {
  JavaScript(asked) {
    const more = Object.entries(handshakeOf(asked)).map(([name, value]) => `, ${name}: ${Array.isArray(value) ? `[${value.map(quoted).join(", ")}]` : quoted(value)}`);
    return `// npm install socket.io-client; save as client.mjs; node client.mjs
import { io } from "socket.io-client";

let since = ${quoted(asked.position)};
const socket = io(${quoted(`${ROOT.origin}/pricings`)}, {
  path: ${quoted(`${ROOT.pathname}events`)},
  transports: ["websocket", "polling"],
  auth: (send) => send({ since${more.join("")} }),
});
socket.on("connect", () => console.log("connected"));
socket.on("connect_error", (error) => console.log(error.message));
socket.on("message", (event, { position }) => {
  console.log(JSON.stringify(event));
  since = position;
});
socket.on("position", (position) => {
  since = position;
});
`;
  },

  Python(asked) {
    const more = Object.entries(handshakeOf(asked)).map(([name, value]) => `, ${quoted(name)}: ${Array.isArray(value) ? `[${value.map(quoted).join(", ")}]` : quoted(value)}`);
    return `# pip install python-socketio aiohttp; save as client.py; python client.py
import asyncio
import json

import socketio

since = ${quoted(asked.position)}


async def main():
    client = socketio.AsyncClient()

    @client.on("message", namespace="/pricings")
    def on_message(event, place):
        global since
        print(json.dumps(event), flush=True)
        since = place["position"]

    @client.on("position", namespace="/pricings")
    def on_position(position):
        global since
        since = position

    await client.connect(
        ${quoted(ROOT.origin)},
        socketio_path=${quoted(`${ROOT.pathname}events`)},
        namespaces=["/pricings"],
        auth=lambda: {"since": since${more.join("")}},
    )
    print("connected", flush=True)
    await client.wait()


asyncio.run(main())
`;
  },

  // The events behind the position, as they are kept: it does not wait for more.
  curl(asked) {
    const query = new URLSearchParams({ since: asked.position });
    if (asked.services.length === 1) query.set("service", asked.services[0]);
    if (asked.codes.length === 1) query.set("code", asked.codes[0]);
    const header = asked.apiKey === null ? "" : ` -H ${inShell(`x-api-key: ${asked.apiKey}`)}`;
    return `curl -sS${header} ${inShell(new URL(`api/v1/events?${query}`, ROOT).href)}\n`;
  },
};

const inShell = (text) => `'${text.replaceAll("'", "'\\''")}'`;

// A box with a choice of texts and a button that copies. `textOf(kind, apiKey)` writes
// one; the key is shown as dots, and copied as it is.
function copyBox(name, kinds, textOf) {
  const text = element("pre", { tabindex: "0", "aria-label": `${name}, as it is copied` });
  const status = element("span", { role: "status", class: "quiet" });
  const copy = element("button", { type: "button", class: "primary" });
  const choice = element("div", { class: "line choices", role: "group", "aria-label": `${name}: as what` });
  const box = { element: element("div", { class: "copy-box" }, choice, text, element("div", { class: "line" }, copy, status)), kind: kinds[0] };
  const buttons = kinds.map((kind) => {
    const button = element("button", { type: "button" }, kind);
    button.addEventListener("click", () => {
      box.kind = kind;
      box.show();
    });
    return button;
  });
  choice.append(...buttons);
  box.show = () => {
    buttons.forEach((button, place) => button.setAttribute("aria-pressed", String(kinds[place] === box.kind)));
    setText(text, textOf(box.kind, key() === null ? null : MASK));
    setText(copy, `Copy as ${box.kind}`);
    setText(status, "");
  };
  copy.addEventListener("click", async () => {
    setText(text, textOf(box.kind, key() === null ? null : MASK));
    const isCopied = await copyText(textOf(box.kind, key()), box.element);
    sayAt(status, isCopied ? "Copied." : "The browser does not allow it: select the text, and copy it.", !isCopied);
  });
  return box;
}

// A page that came over plain HTTP from elsewhere may not use the clipboard's own way.
async function copyText(text, place) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const field = element("textarea", { class: "unseen", "aria-hidden": "true", tabindex: "-1" });
    field.value = text;
    place.append(field);
    const before = document.activeElement;
    field.select();
    const isCopied = document.execCommand("copy");
    field.remove();
    before?.focus();
    return isCopied;
  }
}
