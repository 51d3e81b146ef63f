// A browser that a test drives: each line that comes in is a piece of JavaScript
// with `page` (playwright), `context` and `seen`; each line that goes out is what
// it returned, or why it failed.
//
// node browser.mjs

import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";
import { say } from "./say.mjs";

const LIMIT_MS = 60_000;

// Where scripts/need looks too.
function findBrowser() {
  const names = ["chromium", "chromium-browser", "google-chrome"];
  const onPath = names.flatMap((name) => process.env.PATH.split(delimiter).map((directory) => join(directory, name)));
  const applications = ["Google Chrome", "Chromium"].map((name) => `/Applications/${name}.app/Contents/MacOS/${name}`);
  return [...onPath, ...applications].find((path) => {
    try {
      accessSync(path, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

// Its profile is a fresh directory; nothing of it speaks to anybody by itself.
const browser = await chromium.launch({
  executablePath: findBrowser(),
  args: ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});
const context = await browser.newContext();
context.setDefaultTimeout(LIMIT_MS);
const page = await context.newPage();

// Every address that was asked, and every complaint on the console.
const seen = { addresses: new Set(), complaints: [] };
context.on("request", (request) => seen.addresses.add(new URL(request.url()).origin));
page.on("websocket", (socket) => seen.addresses.add(new URL(socket.url()).origin));
page.on("console", (message) => {
  if (["error", "warning"].includes(message.type())) seen.complaints.push(message.text());
});
page.on("pageerror", (error) => seen.complaints.push(String(error)));
page.on("dialog", (dialog) => dialog.accept());

say({ ready: true });
const AsyncFunction = (async () => {}).constructor;
for await (const line of createInterface({ input: process.stdin })) {
  try {
    const work = new AsyncFunction("page", "context", "seen", JSON.parse(line));
    say({ returned: (await work(page, context, seen)) ?? null });
  } catch (error) {
    say({ failed: String(error) });
  }
}
