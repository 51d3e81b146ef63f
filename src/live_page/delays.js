// How long the events took. A frame says when the row changed; when its transaction
// committed the history says, where Postgres keeps it: so what the writer's transaction
// took can be left out. The history is asked for those that are shown, some at a time.

const MAX_ASKED = 1000;
const ASK_EVERY_MS = 500;
const MEDIAN_OVER_MS = 60_000;
const MOST_TIMES = 5000;

const delays = {
  // Whether Postgres keeps when transactions committed; null: not known yet.
  keepsCommits: null,
  asking: false,
  // Keys are asked for and none is there, or one that may not read.
  refused: false,
  // Those of the last minute: {at, ms}.
  times: [],

  // From the commit, or from the change where nothing else is known; null: not known.
  of({ at, isPast, occurredAt, committedAt }) {
    if (isPast || (committedAt === undefined && this.keepsCommits !== false)) return null;
    const delay = at + clock.ahead() - Date.parse(committedAt ?? occurredAt);
    // Less than nothing: the database's clock is another. Times are cut to milliseconds.
    return delay >= -2 ? Math.max(delay, 0) : null;
  },

  text(entry) {
    const delay = this.of(entry);
    return delay === null ? "" : this.words(delay);
  },

  words(ms) {
    return clock.ahead() === 0 ? duration(ms) : `≈ ${duration(ms)}`;
  },

  // What an answer of the history tells of Postgres.
  keeps(event) {
    const keeps = event.committedAt !== undefined;
    if (keeps === this.keepsCommits) return;
    this.keepsCommits = keeps;
    setText(byId("delay-hint"), keeps
      ? "Delay: from the commit in Postgres until the event reached this page."
      : "Delay: from the change in Postgres until the event reached this page. It includes the rest of the transaction, because this Postgres does not keep commit times (track_commit_timestamp).");
  },

  note(entry) {
    if (this.keepsCommits === false) this.count(entry);
  },

  count(entry) {
    const ms = this.of(entry);
    if (ms === null) return;
    this.times.push({ at: entry.at, ms });
    if (this.times.length > MOST_TIMES) this.times.shift();
    if (entry.cell) setText(entry.cell, this.words(ms));
  },

  async learn() {
    if (this.asking || this.refused) return;
    this.asking = true;
    // A few more may come at once.
    for (let pause = 50; ; pause = ASK_EVERY_MS) {
      await new Promise((go) => setTimeout(go, pause));
      if (this.keepsCommits === false) break;
      const waiting = events.kept.filter((entry) => entry.before && !entry.asked && entry.cell?.isConnected);
      if (waiting.length === 0) break;
      try {
        await this.ask(waiting[0], waiting.at(-1));
      } catch (error) {
        // While the server is away its events wait; the next one asks again.
        this.refused = error.status === 401 || error.status === 403;
        if (error.status === 400) waiting[0].asked = true;
        else break;
      }
    }
    this.asking = false;
  },

  async ask(from, to) {
    const count = Math.min(to.number - from.number + 1, MAX_ASKED);
    const answer = await request("GET", `events?since=${encodeURIComponent(from.before)}&limit=${count}`);
    const { events: listed } = await answer.json();
    const found = new Map(listed.map((event) => [event.id, event]));
    listed.forEach((event) => this.keeps(event));
    for (const entry of events.kept) {
      if (entry.number < from.number || entry.asked || !found.has(entry.id)) continue;
      entry.asked = true;
      entry.committedAt = found.get(entry.id).committedAt;
      this.count(entry);
    }
    from.asked = true;
    this.showMedian();
  },

  clear() {
    this.times = [];
    this.showMedian();
  },

  showMedian() {
    const from = Date.now() - MEDIAN_OVER_MS;
    this.times = this.times.filter(({ at }) => at >= from);
    const sorted = this.times.map(({ ms }) => ms).sort((one, other) => one - other);
    setText(byId("median"), sorted.length === 0 ? "–" : this.words(sorted[sorted.length >> 1]));
  },
};

setInterval(() => document.hidden || delays.showMedian(), 1000);

onNewKey.push(() => {
  delays.refused = false;
  delays.learn();
});
