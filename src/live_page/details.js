// All that is known of one event or one recorded change, in a dialog.

// How far back the change of an event is looked for: at once, then in earnest.
const LOOK_BACK = [20, 1000];

const details = {
  dialog: byId("details"),
  // What is shown: an entry of `events`, or one of a change with `change`.
  entry: null,

  open(entry) {
    this.entry = entry;
    byId("details-title").replaceChildren(entry.code === undefined ? "No event" : codeName(entry.code), ` ${entry.service} ${entry.version}`);
    setText(byId("details-why"), entry.change?.explanation ?? "");
    setText(byId("details-follow"), `Follow ${entry.service}`);
    byId("details-follow").title = entry.service;
    this.showFacts();
    this.showRow(entry.change);
    this.box.show();
    this.dialog.showModal();
    if (entry.change === undefined) this.learn(entry);
  },

  // The history knows when it was committed, and what the row was before.
  async learn(entry) {
    try {
      entry.change = await this.changeOf(entry);
      entry.committedAt ??= entry.change?.committedAt;
      if (entry !== this.entry) return;
      this.showRow(entry.change, "This change is not kept any more.");
    } catch (error) {
      if (entry === this.entry) this.showRow(undefined, `The row cannot be read. ${wordsFor(error)}`);
    }
    this.showFacts();
    this.box.show();
  },

  // Back from the event's own place it is the first, but for what committed late.
  async changeOf({ id, position, service }) {
    for (const limit of LOOK_BACK) {
      const asked = new URLSearchParams({ order: "desc", since: position, limit, service });
      const answer = await request("GET", `changes?${asked}`);
      const { changes: listed } = await answer.json();
      listed.forEach((change) => delays.keeps(change));
      const found = listed.find((change) => change.id === id);
      if (found !== undefined || listed.length < limit) return found;
    }
    return undefined;
  },

  showFacts() {
    const { entry } = this;
    const fact = (name, ...said) => element("div", {}, element("dt", {}, name), element("dd", {}, ...said));
    const notKept = "Not kept by this Postgres. It keeps commit times with track_commit_timestamp = on.";
    const facts = [
      fact("Recorded at", fullTime(entry.occurredAt)),
      fact("Committed at", entry.committedAt === undefined ? (delays.keepsCommits === false ? notKept : "…") : fullTime(entry.committedAt)),
      fact("Heard here", entry.at === undefined ? "Not heard live: it comes from the history." : fullTime(entry.at)),
      fact("Time taken", timeTaken(entry)),
      fact("Id", element("code", {}, entry.id)),
      fact("Position", element("code", {}, entry.position)),
    ];
    byId("details-facts").replaceChildren(...facts.filter((one) => one.lastChild.textContent !== ""));
  },

  showRow(change, why = "Reading the row…") {
    setText(byId("details-row-said"), change === undefined ? why : "");
    byId("details-row").hidden = change === undefined;
    if (change === undefined) return;
    const { before, after, table } = change;
    const states = [
      ["version", before?.version, after?.version],
      ["availability", before?.availability, after?.availability],
      ["service", ...[before, after].map((state) => state && (state.serviceDisabled ? "disabled" : "enabled"))],
    ];
    const known = table === "services" ? states.slice(2) : states;
    byId("details-row-rows").replaceChildren(...known.map(([name, was, is]) => {
      const cell = (value) => element("td", {}, value === undefined ? "no row" : was === is ? value : element("mark", {}, value));
      return element("tr", {}, element("th", { scope: "row" }, name), cell(was), cell(is));
    }));
  },

  box: copyBox("This event", ["JSON", ...LANGUAGES], (kind, apiKey) => {
    const { entry } = details;
    if (kind === "JSON") return `${JSON.stringify(jsonOf(entry), null, 2)}\n`;
    return writeClient[kind]({ position: entry.position, apiKey, services: [], codes: [] });
  }),
};

// An event as the history has it; a change as it was recorded.
function jsonOf({ code, service, version, id, occurredAt, committedAt, position, change }) {
  if (code === undefined) return change;
  const event = { serviceName: service };
  if (code !== "SERVICE_DISABLED") event.pricingVersion = version;
  return { code, details: event, id, occurredAt, committedAt, position };
}

// What the writer's transaction took, and what came after it.
function timeTaken({ at, occurredAt, committedAt }) {
  const heardAt = at === undefined ? undefined : at + clock.ahead();
  const between = (from, to) => delays.words(Math.max(to - from, 0));
  if (committedAt === undefined) return heardAt === undefined ? "" : `${between(Date.parse(occurredAt), heardAt)} from the change until it was heard here, including the writer's transaction`;
  const writer = `${between(Date.parse(occurredAt), Date.parse(committedAt))} until the writer's transaction committed`;
  return heardAt === undefined ? writer : `${writer}; ${between(Date.parse(committedAt), heardAt)} from there until it was heard here`;
}

function fullTime(time) {
  const at = new Date(time);
  const day = at.toLocaleDateString(undefined, { dateStyle: "medium" });
  return element("time", { datetime: at.toISOString(), title: at.toISOString() }, `${day}, `, ...clockTime(at));
}

byId("details-copy").append(details.box.element);
byId("details-close").addEventListener("click", () => details.dialog.close());
byId("details-follow").addEventListener("click", () => {
  details.dialog.close();
  view.follow(details.entry.service);
});
// A click beside the dialog closes it.
details.dialog.addEventListener("click", ({ target }) => target === details.dialog && details.dialog.close());

// A row opens by a click anywhere on it, but for one that ends a selection of its text.
for (const rows of ["rows", "change-rows"]) {
  byId(rows).addEventListener("click", ({ target }) => {
    const { entry } = target.closest("tr") ?? {};
    const isButton = target.closest("button") !== null;
    if (entry !== undefined && (isButton || getSelection().isCollapsed)) details.open(entry);
  });
}
