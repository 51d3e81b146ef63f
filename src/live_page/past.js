// What was announced before this page heard of anything: the last events at once,
// older ones when they are asked for.

const PAST_AT_ONCE = 50;
// With some of the codes the server is asked for all, and so many pages at a time.
const SEARCH_AT_ONCE = 1000;
const SEARCH_PAGES = 5;

const past = {
  // Those that pass the filter, the newest first.
  entries: [],
  // The place where what was heard begins: what is listed is before it; empty: now.
  begin: "",
  // Where the next page begins.
  next: "",
  // Nothing older is kept.
  isAll: false,
  loading: false,
  failed: false,
  // Of what is being read; another one: not wanted any more.
  turn: 0,

  // Lists the last events; the position from which to hear what comes.
  async open() {
    this.reset("");
    const position = await this.load();
    this.begin = position ?? "";
    return this.begin;
  },

  // Lists what is before another place, or as another filter has it.
  beginAt(position, atOnce = true) {
    this.reset(position);
    events.drawAnew();
    if (atOnce) this.load();
  },

  reset(position) {
    this.turn += 1;
    Object.assign(this, { entries: [], begin: position, next: position, isAll: false, loading: false, failed: false });
    this.said("");
  },

  said(text) {
    sayAt(byId("past-said"), text, this.failed);
  },

  // Reads on, back in time; the position of the newest place that was shown.
  async load() {
    if (this.loading) return null;
    const { turn } = this;
    this.loading = true;
    byId("older").setAttribute("aria-busy", "true");
    events.tellWhatIsThere();
    let position = null;
    try {
      position = await this.read(turn);
    } catch (error) {
      if (turn === this.turn) {
        this.failed = true;
        this.said(`Earlier events cannot be read. ${wordsFor(error)}`);
      }
    }
    if (turn === this.turn) {
      this.loading = false;
      byId("older").removeAttribute("aria-busy");
      events.tellWhatIsThere();
    }
    return position;
  },

  async read(turn) {
    const { codes, service } = view;
    const many = !view.allCodes() && codes.size !== 1;
    const limit = many ? SEARCH_AT_ONCE : PAST_AT_ONCE;
    let newest = null;
    let found = 0;
    for (let page = 0; page < (many ? SEARCH_PAGES : 1) && found < PAST_AT_ONCE && !this.isAll; page += 1) {
      const asked = new URLSearchParams({ order: "desc", limit, since: this.next });
      if (service !== "") asked.set("service", service);
      if (codes.size === 1) asked.set("code", [...codes][0]);
      const answer = await request("GET", `events?${asked}`);
      const { events: listed, position } = await answer.json();
      if (turn !== this.turn) return null;
      newest ??= answer.headers.get("event-position");
      this.next = position;
      this.isAll = listed.length < limit;
      const entries = listed.map(entryOf).filter((entry) => view.passes(entry));
      listed.forEach((event) => delays.keeps(event));
      found += entries.length;
      this.entries.push(...entries);
      events.append(entries);
      if (many) this.said(this.isAll || listed.length === 0 ? "" : `Searched back to ${new Date(listed.at(-1).occurredAt).toLocaleString()}.`);
    }
    this.failed = false;
    if (!many) this.said("");
    return newest;
  },
};

const entryOf = ({ code, details, id, position, occurredAt, committedAt }) => ({
  code, service: details.serviceName, version: details.pricingVersion ?? "", id, position, occurredAt, committedAt, isPast: true,
});
