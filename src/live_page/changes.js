// Why was there no event? Each change that was recorded, with its event or the reason
// why it has none; read while the tab is open.

const CHANGES_AT_ONCE = 50;
const FOLLOW_EVERY_MS = 2000;
const FOLLOW_SOON_MS = 100;
// More at once than this are not followed one by one; nor are more kept.
const MOST_CHANGES = 1000;

const changes = {
  // The newest first, those that pass the filter.
  entries: [],
  // The place behind the newest, and the one where older ones begin; null: not read yet.
  newest: null,
  next: null,
  isAll: false,
  turn: 0,
  timer: 0,
  reading: false,

  isOpen: () => view.tab === "changes" && !document.hidden,
  onlySilent: () => byId("only-silent").checked,

  said(text, isFault) {
    sayAt(byId("changes-said"), text, isFault);
  },

  // Begins anew with the last ones.
  async open() {
    this.turn += 1;
    Object.assign(this, { entries: [], newest: null, next: null, isAll: false, reading: false });
    byId("change-rows").replaceChildren();
    await this.work(() => this.readBack());
  },

  // One at a time; what fails is said, and tried again.
  async work(read) {
    if (this.reading) return;
    const { turn } = this;
    this.reading = true;
    this.tellWhatIsThere();
    try {
      await read(turn);
      if (turn === this.turn) this.said("");
    } catch (error) {
      if (turn !== this.turn) return;
      // The journal is another one, or went back.
      if (error.status === 400 && this.newest !== null) this.newest = null;
      this.said(`The changes cannot be read. ${wordsFor(error)}`, true);
    }
    if (turn !== this.turn) return;
    this.reading = false;
    this.tellWhatIsThere();
    this.followSoon(FOLLOW_EVERY_MS);
  },

  async ask(order, since, limit) {
    const asked = new URLSearchParams({ order, limit, since });
    if (view.service !== "") asked.set("service", view.service);
    const answer = await request("GET", `changes?${asked}`);
    const { changes: listed, position } = await answer.json();
    listed.forEach((change) => delays.keeps(change));
    return { listed, position, newest: answer.headers.get("event-position") };
  },

  passes(change) {
    return !this.onlySilent() || change.event === undefined;
  },

  async readBack(turn = this.turn) {
    const limit = this.onlySilent() ? SEARCH_AT_ONCE : CHANGES_AT_ONCE;
    let found = 0;
    for (let page = 0; page < SEARCH_PAGES && found < CHANGES_AT_ONCE && !this.isAll; page += 1) {
      const { listed, position, newest } = await this.ask("desc", this.next ?? "", limit);
      if (turn !== this.turn) return;
      this.newest ??= newest;
      this.next = position;
      this.isAll = listed.length < limit;
      const passing = listed.filter((change) => this.passes(change));
      this.entries.push(...passing);
      byId("change-rows").append(...passing.map(changeRow));
      found += passing.length;
    }
  },

  // Asked for by somebody, so it waits for what is being read.
  async older() {
    while (this.reading) await new Promise((go) => setTimeout(go, FOLLOW_SOON_MS));
    await this.work((turn) => this.readBack(turn));
  },

  // What was recorded since.
  async readOn(turn = this.turn) {
    const { listed, position } = await this.ask("asc", this.newest, MOST_CHANGES);
    if (turn !== this.turn) return;
    const fresh = listed.filter((change) => this.passes(change)).reverse();
    this.newest = position;
    this.entries.unshift(...fresh);
    byId("change-rows").prepend(...fresh.map(changeRow));
    if (listed.length === MOST_CHANGES || this.entries.length > 2 * MOST_CHANGES) setTimeout(() => this.open());
  },

  follow() {
    this.timer = 0;
    if (!this.isOpen()) return;
    if (this.newest === null) this.open();
    else this.work((turn) => this.readOn(turn));
  },

  followSoon(wait) {
    if (!this.isOpen()) return;
    if (wait < FOLLOW_EVERY_MS) clearTimeout(this.timer);
    else if (this.timer !== 0) return;
    this.timer = setTimeout(() => this.follow(), wait);
  },

  tellWhatIsThere() {
    const isEmpty = this.entries.length === 0;
    byId("changes-empty").hidden = !isEmpty || byId("changes-said").classList.contains("fault");
    const of = view.service === "" ? "" : ` of service “${view.service}”`;
    const kind = this.onlySilent() ? "Every change has its event" : "No change is recorded";
    setText(byId("changes-empty"), this.reading ? "Reading what was recorded…" : `${kind}${of}.`);
    byId("older-changes").hidden = this.isAll || this.next === null;
    byId("older-changes").toggleAttribute("aria-busy", this.reading);
    byId("changes-end").hidden = !this.isAll || isEmpty;
  },
};

function changeRow(change) {
  const cell = (name, ...children) => element("td", { role: "cell", class: name }, ...children);
  const service = cell("service", change.serviceName);
  service.title = change.serviceName;
  const outcome = change.event === undefined
    ? [element("span", { class: "silent" }, "No event"), " ", change.explanation]
    : [codeName(change.event.code)];
  const words = changeWords(change);
  const row = element(
    "tr", { role: "row" },
    cell("time", timeElement(new Date(change.occurredAt))),
    service,
    cell("changed", openButton(`Details of ${change.serviceName} ${words}`, words)),
    cell("outcome", ...outcome),
  );
  row.entry = changeEntry(change);
  return row;
}

// As an entry of the events is, for the details.
const changeEntry = (change) => ({
  code: change.event?.code, service: change.serviceName, version: change.after?.version ?? change.before?.version ?? "",
  id: change.id, position: change.position, occurredAt: change.occurredAt, committedAt: change.committedAt, change,
});

// What changed, in words.
function changeWords({ table, before, after }) {
  if (table === "services") {
    if (before === undefined) return after.serviceDisabled ? "added, disabled" : "added";
    if (after === undefined) return "deleted";
    return after.serviceDisabled ? "disabled" : "enabled";
  }
  if (before === undefined) return `${after.version} added, ${after.availability}`;
  if (after === undefined) return `${before.version} deleted, was ${before.availability}`;
  if (before.version !== after.version) return `${before.version} is now ${after.version}`;
  if (before.availability !== after.availability) return `${after.version}: ${before.availability} → ${after.availability}`;
  return `${after.version}: its service was ${after.serviceDisabled ? "disabled" : "enabled"}`;
}

byId("only-silent").addEventListener("change", () => changes.open());
byId("older-changes").addEventListener("click", () => changes.older());
const openChanges = () => {
  if (changes.isOpen()) changes.open();
  else changes.newest = null;
};
view.onFilter.push(openChanges);
view.onTab.push(() => changes.followSoon(0));
onNewKey.push(openChanges);
document.addEventListener("visibilitychange", () => changes.followSoon(FOLLOW_SOON_MS));
changes.followSoon(0);
