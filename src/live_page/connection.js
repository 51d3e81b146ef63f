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
// The list of services that is being read; the next try, where the last one failed.
let listing = null;
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

// What is said of the connection; green only while the server can keep its promise.
const said = { name: "connecting", detail: "" };

function state(name, detail) {
  Object.assign(said, { name, detail });
  showState();
}

function showState() {
  let { name, detail } = said;
  if (name === "live" && health.isReady === null) [name, detail] = ["checking", "connected; checking the server"];
  if (name === "live" && health.isReady === false) [name, detail] = ["unready", health.fault];
  byId("state").className = name;
  setText(byId("state-name"), name === "unready" ? "not ready" : name);
  setText(byId("state-detail"), detail);
}

health.onChange.push(showState);

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
  health.lookSoon();
  if (lostAt === null) {
    state("live", "");
  } else {
    const awayMs = Date.now() - lostAt;
    lostAt = null;
    if (missed === null) {
      state("live", `again, after ${duration(awayMs)}`);
      const followed = since !== "";
      events.notice(`Back after ${duration(awayMs)}. ${followed ? "What was missed is coming now." : "A gap: events may have been missed, because no position was known."}`);
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

socket.on("message", (event, place) => {
  events.add(event, place, since);
  since = place.position;
  changes.followSoon(FOLLOW_SOON_MS);
  services.note(event.details.serviceName);
  if (missed !== null) {
    missed.heard += 1;
    tellCaughtUp();
  }
});

socket.on("position", (position) => {
  // The history could not be read: what was before begins here.
  if (past.begin === "" && events.total === 0) Object.assign(past, { begin: position, next: position });
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
    const why = error.message.startsWith("POSITION_EXPIRED") ? "the journal does not go back that far" : "the server has another journal now, or it went back";
    events.notice(`A gap: events may have been missed, because ${why}. This page goes on from now.`);
    lostAt = null;
    // What is shown is of another journal, or behind the gap: nothing leads back from it.
    past.isAll = true;
    beginAfterGap();
  } else {
    lost();
    connectAgain();
  }
});

function lost() {
  health.lookSoon();
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

// However many ask at once, they are listed once.
function loadServices() {
  listing ??= listServices().finally(() => {
    listing = null;
  });
  return listing;
}

async function listServices() {
  try {
    const position = await services.load();
    services.said("");
    return position;
  } catch (error) {
    const refused = error.status === 401 || error.status === 403;
    services.said(`The services cannot be read. ${wordsFor(error)}`, true);
    clearTimeout(loading);
    if (!refused) loading = setTimeout(loadServices, MAX_PAUSE_MS);
    return "";
  }
}

async function beginAfterGap() {
  since = await loadServices();
  socket.connect();
}

// Lists what was, then hears from exactly there. The services are listed later than
// the events, so no event that they do not show yet goes by unheard.
async function begin() {
  const from = await past.open();
  events.notice("Live from here", "begin");
  const listed = loadServices();
  since = from === "" ? await listed : from;
  socket.connect();
}

onNewKey.push(async () => {
  // What is shown may be another organisation's than the key's.
  if (socket.active) return location.reload();
  if (past.failed && past.begin === "" && since === "") await past.open();
  else if (past.failed) past.load();
  const refused = !socket.active;
  const listed = await loadServices();
  // Where a position is known, what came after it is heard.
  if (refused && since === "") since = past.begin === "" ? listed : past.begin;
  if (refused) socket.connect();
});

// A client of one's own, from where this page is.
const connect = copyBox("Your client", LANGUAGES, (language, apiKey) => writeClient[language]({
  position: since,
  apiKey,
  services: view.service === "" ? [] : [view.service],
  codes: view.allCodes() ? [] : [...view.codes],
}));
byId("connect").append(connect.element);
connect.show();
for (const list of [view.onFilter, onNewKey]) list.push(() => connect.show());
socket.on("position", () => connect.show());

health.look();
begin();
