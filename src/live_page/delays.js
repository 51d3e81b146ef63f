// How long the events took. Their frames do not say; the history does, which is
// asked for those that are shown, some at a time, from the position before them.

const MAX_ASKED = 1000;
const ASK_EVERY_MS = 500;
const MEDIAN_OF = 200;

const delays = {
  asking: false,
  // Keys are asked for and none is there, or one that may not read.
  refused: false,
  last: [],

  // Not known yet: undefined; never to be known: null.
  text(delay) {
    if (delay === undefined || delay === null) return "";
    return clock.ahead() === 0 ? duration(delay) : `≈ ${duration(delay)}`;
  },

  async learn() {
    if (this.asking || this.refused) return;
    this.asking = true;
    // A few more may come at once.
    for (let pause = 50; ; pause = ASK_EVERY_MS) {
      await new Promise((go) => setTimeout(go, pause));
      const waiting = events.kept.filter((entry) => entry.delay === undefined && entry.before && entry.cell?.isConnected);
      if (waiting.length === 0) break;
      try {
        await this.ask(waiting[0], waiting.at(-1));
      } catch (error) {
        // While the server is away its events wait; the next one asks again.
        this.refused = error.status === 401 || error.status === 403;
        if (error.status === 400) waiting[0].delay = null;
        else break;
      }
    }
    this.asking = false;
  },

  async ask(from, to) {
    const count = Math.min(to.number - from.number + 1, MAX_ASKED);
    const answer = await request("GET", `events?since=${encodeURIComponent(from.before)}&limit=${count}`);
    const { events: past } = await answer.json();
    // Two events of one pricing or service come in one order, here and there.
    const times = Map.groupBy(past, ({ code, details }) => nameOf(code, details.serviceName, details.pricingVersion ?? ""));
    for (const entry of events.kept) {
      if (entry.number < from.number || entry.notice !== undefined) continue;
      const time = times.get(nameOf(entry.code, entry.service, entry.version))?.shift();
      if (time === undefined || entry.delay !== undefined) continue;
      const delay = entry.at + clock.ahead() - Date.parse(time.occurredAt);
      // Less than nothing: the database's clock is another.
      entry.delay = delay >= 0 ? delay : null;
      if (entry.delay === null) continue;
      this.last.push(delay);
      if (entry.cell) setText(entry.cell, this.text(delay));
    }
    from.delay ??= null;
    this.last.splice(0, this.last.length - MEDIAN_OF);
    this.showMedian();
  },

  clear() {
    this.last = [];
    this.showMedian();
  },

  showMedian() {
    const sorted = this.last.toSorted((one, other) => one - other);
    setText(byId("median"), sorted.length === 0 ? "–" : this.text(sorted[sorted.length >> 1]));
  },
};

const nameOf = (...parts) => JSON.stringify(parts);

onNewKey.push(() => {
  delays.refused = false;
  delays.learn();
});
