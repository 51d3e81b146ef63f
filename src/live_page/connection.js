// The connection: hears the events, and comes back to the position after the last.

const FIRST_PAUSE_MS = 500;
const MAX_PAUSE_MS = 5000;
// What was missed is counted up to here.
const MAX_MISSED = 10_000;

// The position after the last event that was heard; empty: from now on.
let since = "";
let lostAt = null;
let handshakes = 0;
// When it came back: {count, more, heard, awayMs}, until all of it is heard.
let missed = null;
let pauseMs = FIRST_PAUSE_MS;
// The next try to list the services, where the last one failed.
let loading = 0;

const socket = io(`${ROOT.origin}/pricings`, {
  path: `${ROOT.pathname}events`,
  transports: ["websocket", "polling"],
  tryAllTransports: true,
  autoConnect: false,
  reconnectionDelay: FIRST_PAUSE_MS,
  reconnectionDelayMax: MAX_PAUSE_MS,
  auth: handshake,
});

function state(name, detail) {
  byId("state").className = name;
  setText(byId("state-name"), name);
  setText(byId("state-detail"), detail);
}

async function handshake(send) {
  handshakes += 1;
  const mine = handshakes;
  missed = null;
  if (lostAt !== null && since !== "") {
    const found = await countMissed(since).catch(() => null);
    if (mine !== handshakes) return;
    missed = found;
  }
  send({ since, apiKey: key() ?? undefined });
}

// How many events have committed after a position.
async function countMissed(position) {
  let count = 0;
  while (count < MAX_MISSED) {
    const answer = await request("GET", `events?since=${encodeURIComponent(position)}&limit=1000`);
    const page = await answer.json();
    count += page.events.length;
    if (page.events.length < 1000) return { count, more: false, heard: 0 };
    position = page.position;
  }
  return { count, more: true, heard: 0 };
}

socket.on("connect", () => {
  pauseMs = FIRST_PAUSE_MS;
  if (lostAt === null) {
    state("live", "");
  } else {
    const awayMs = Date.now() - lostAt;
    lostAt = null;
    if (missed === null) {
      state("live", `again, after ${duration(awayMs)}`);
      const followed = since !== "";
      events.notice(`Back after ${duration(awayMs)}. ${followed ? "What was missed comes now." : "A gap: events may have been missed, as no position was known."}`);
      if (!followed) services.readAll();
    } else {
      missed.awayMs = awayMs;
      state("live", "catching up");
      tellCaughtUp();
    }
  }
  if (!services.loaded) loadServices();
});

function tellCaughtUp() {
  if (missed === null || missed.heard < missed.count) return;
  const many = missed.more ? `more than ${counted(missed.count, "event")}` : counted(missed.count, "event");
  const caughtUp = missed.count === 0 ? "nothing was missed" : `caught up ${many}`;
  state("live", `again, ${caughtUp}`);
  events.notice(`Back after ${duration(missed.awayMs)}: ${caughtUp}.`);
  missed = null;
}

socket.on("message", (event, { position }) => {
  events.add(event, since);
  since = position;
  services.note(event.details.serviceName, event.code === "SERVICE_DISABLED");
  if (missed !== null) {
    missed.heard += 1;
    tellCaughtUp();
  }
});

socket.on("position", (position) => {
  since = position;
});

socket.on("disconnect", (reason) => {
  lost();
  // Only a connection that broke is made again by the library.
  if (!socket.active) connectAgain();
  console.info(`disconnected: ${reason}`);
});

socket.on("connect_error", (error) => {
  if (socket.active) {
    if (lostAt !== null) lost();
    else state("connecting", "the server does not answer; trying again");
  } else if (error.message.startsWith("UNAUTHORIZED")) {
    state("refused", "a key is needed");
    askForKey(key() === null ? "This server asks for an API key." : "The server does not know this key.");
  } else if (error.message.startsWith("POSITION_")) {
    const why = error.message.startsWith("POSITION_EXPIRED") ? "the log does not go back that far" : "the server has another log now, or it went back";
    events.notice(`A gap: events may have been missed, since ${why}. From now on again.`);
    since = "";
    lostAt = null;
    begin();
  } else {
    lost();
    connectAgain();
  }
});

function lost() {
  if (lostAt === null) {
    lostAt = Date.now();
    events.notice("The connection is lost.");
  }
  state("lost", `since ${new Date(lostAt).toLocaleTimeString()}; trying again`);
}

function connectAgain() {
  setTimeout(() => socket.connect(), pauseMs * (0.5 + Math.random()));
  pauseMs = Math.min(2 * pauseMs, MAX_PAUSE_MS);
}

async function loadServices() {
  try {
    const position = await services.load();
    services.said("");
    return position;
  } catch (error) {
    const refused = error.status === 401 || error.status === 403;
    services.said(refused ? "A key is needed to see the services." : `The services cannot be read: ${error.message}`);
    clearTimeout(loading);
    if (!refused) loading = setTimeout(loadServices, MAX_PAUSE_MS);
    return "";
  }
}

// Lists, then hears from exactly there.
async function begin() {
  since = await loadServices();
  socket.connect();
}

onNewKey.push(() => {
  const refused = !socket.active;
  // Where a position is known, what came after it is heard.
  if (refused && since === "") return begin();
  if (refused) socket.connect();
  return loadServices();
});

begin();
