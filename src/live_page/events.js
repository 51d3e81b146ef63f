// The events: those that were, then those that come, shown once a frame.

// What can be shown when a filter changes, and what is shown at first.
const MAX_KEPT = 2000;
const MAX_ROWS = 200;
// In a burst every row is another each time: then now and then is enough.
const MANY_ROWS = 50;
const DRAW_MANY_EVERY_MS = 250;
const ANNOUNCE_EVERY_MS = 5000;

const events = {
  // Events that were heard, and notices among them, numbered from 0, the oldest first:
  // {number, at, code, service, version, id, position, before, occurredAt, committedAt,
  // cell} or {number, at, notice}. What was before them is in `past`.
  kept: [],
  next: 0,
  // Entries below this number have been drawn.
  drawn: 0,
  // While paused, only entries below this number are shown.
  pausedAt: null,
  total: 0,
  counts: new Map(CODES.map(({ code }) => [code, 0])),
  // So many rows are shown; whether there are more.
  limit: MAX_ROWS,
  isCut: false,
  // Whether it will be drawn.
  due: false,
  notBefore: 0,
  announced: { at: 0, total: 0, timer: 0 },

  // `before` is the position before the event.
  add({ code, details }, { id, position, occurredAt }, before) {
    this.total += 1;
    this.counts.set(code, (this.counts.get(code) ?? 0) + 1);
    chart.count(code);
    const entry = { code, service: details.serviceName, version: details.pricingVersion ?? "", id, position, before, occurredAt };
    this.keep(entry);
    delays.note(entry);
  },

  notice(text, name = "notice") {
    this.keep({ notice: text, name });
  },

  keep(entry) {
    this.kept.push(Object.assign(entry, { number: this.next, at: Date.now() }));
    this.next += 1;
    if (this.kept.length >= 2 * MAX_KEPT) {
      this.kept.splice(0, this.kept.length - MAX_KEPT);
      past.beginAt(this.kept.find((one) => one.before)?.before ?? since);
    }
    this.drawSoon();
  },

  drawSoon() {
    if (this.due) return;
    this.due = true;
    setTimeout(() => requestAnimationFrame(() => this.draw()), Math.max(this.notBefore - Date.now(), 0));
  },

  passes(entry) {
    return entry.notice !== undefined || view.passes(entry);
  },

  draw() {
    this.due = false;
    const rows = byId("rows");
    const end = this.pausedAt ?? this.next;
    const fresh = [];
    for (let place = this.kept.length - 1; place >= 0 && fresh.length < this.limit; place -= 1) {
      const entry = this.kept[place];
      if (entry.number < this.drawn) break;
      if (entry.number < end && this.passes(entry)) fresh.push(entry);
    }
    // Some were passed over, which no row shows.
    if (fresh.length === this.limit) this.isCut = true;
    this.drawn = Math.max(this.drawn, end);
    if (fresh.length > MANY_ROWS) this.notBefore = Date.now() + DRAW_MANY_EVERY_MS;
    rows.prepend(...fresh.map(rowOf));
    this.cut();
    setText(byId("total"), this.total.toLocaleString());
    for (const { code } of CODES) setText(byId(`count-${code}`), this.counts.get(code).toLocaleString());
    const waiting = this.next - end;
    setText(byId("pause"), this.pausedAt === null ? "Pause" : waiting === 0 ? "Go on" : `Go on (${waiting.toLocaleString()} new)`);
    if (fresh.length > 0) delays.learn();
    this.tellWhatIsThere();
    this.announce();
  },

  // Those of the past come below what is shown.
  append(entries) {
    if (this.isCut) return;
    byId("rows").append(...entries.map(rowOf));
    this.cut();
  },

  cut() {
    const rows = byId("rows");
    if (rows.childElementCount > this.limit) this.isCut = true;
    while (rows.childElementCount > this.limit) rows.lastElementChild.remove();
  },

  drawAnew() {
    byId("rows").replaceChildren();
    this.drawn = 0;
    this.isCut = false;
    this.draw();
    this.append(past.entries);
    this.tellWhatIsThere();
  },

  async older() {
    if (this.isCut) {
      this.limit += MAX_ROWS;
      this.drawAnew();
    } else {
      this.limit = Math.max(this.limit, byId("rows").childElementCount + PAST_AT_ONCE);
      await past.load();
    }
  },

  // What an empty table means, and whether there is more.
  tellWhatIsThere() {
    const isEmpty = byId("rows").querySelector("tr.event") === null;
    byId("empty").hidden = !isEmpty || past.failed;
    const nothing = "Nothing yet. Add a pricing, archive one, or change a row in psql.";
    const none = view.isFiltered() ? `Nothing matches: ${view.words()}.` : this.total > 0 || !past.isAll ? "Nothing is shown." : nothing;
    setText(byId("empty"), past.loading ? "Reading earlier events…" : none);
    byId("older").hidden = past.isAll && !this.isCut;
    byId("past-end").hidden = !past.isAll || this.isCut || isEmpty;
  },

  // Now and then, for screen readers: how many came, and the last of them.
  announce() {
    const wait = this.announced.at + ANNOUNCE_EVERY_MS - Date.now();
    if (this.announced.timer || this.pausedAt !== null) return;
    this.announced.timer = setTimeout(() => {
      this.announced.timer = 0;
      const count = this.total - this.announced.total;
      const last = this.kept.findLast((entry) => entry.notice === undefined);
      if (count <= 0 || last === undefined) return;
      Object.assign(this.announced, { at: Date.now(), total: this.total });
      setText(byId("announcement"), `${counted(count, "new event")}; the last: ${last.code} ${last.service} ${last.version}`);
    }, Math.max(wait, 0));
  },
};

function rowOf(entry) {
  const cell = (name, ...children) => element("td", { role: "cell", class: name }, ...children);
  if (entry.notice !== undefined) {
    const said = cell("notice", entry.notice);
    said.colSpan = 4;
    return element("tr", { role: "row", class: entry.name }, cell("time", timeElement(new Date(entry.at))), said);
  }
  entry.cell = cell("delay", delays.text(entry));
  const named = (name, text) => {
    const made = cell(name, text);
    made.title = text;
    return made;
  };
  const row = element(
    "tr", { role: "row", class: "event" },
    cell("time", timeElement(new Date(entry.occurredAt))),
    cell("what", openButton(`Details of ${entry.code} ${entry.service} ${entry.version}`, codeName(entry.code))),
    named("service", entry.service),
    named("version", entry.version),
    entry.cell,
  );
  row.entry = entry;
  return row;
}

// Opens the details of its row, for whoever has no mouse.
const openButton = (name, ...children) => element("button", { type: "button", class: "open", "aria-label": name.trim(), "aria-haspopup": "dialog" }, ...children);

// The time of day with milliseconds, and the day where it is another.
function timeElement(at) {
  const day = at.toDateString() === new Date().toDateString() ? "" : `${at.toLocaleDateString(undefined, { day: "numeric", month: "short" })} `;
  return element("time", { datetime: at.toISOString() }, day, ...clockTime(at));
}

function clockTime(at) {
  const pad = (number, digits = 2) => String(number).padStart(digits, "0");
  const time = `${pad(at.getHours())}:${pad(at.getMinutes())}:${pad(at.getSeconds())}`;
  return [time, element("span", { class: "quiet" }, `.${pad(at.getMilliseconds(), 3)}`)];
}

byId("pause").addEventListener("click", () => {
  events.pausedAt = events.pausedAt === null ? events.next : null;
  byId("pause").setAttribute("aria-pressed", String(events.pausedAt !== null));
  events.draw();
});

byId("clear").addEventListener("click", () => {
  events.kept = [];
  events.total = 0;
  events.announced.total = 0;
  events.limit = MAX_ROWS;
  for (const code of events.counts.keys()) events.counts.set(code, 0);
  if (events.pausedAt !== null) events.pausedAt = events.next;
  delays.clear();
  past.beginAt(since, false);
});

byId("older").addEventListener("click", () => events.older());

view.onFilter.push(() => {
  events.limit = MAX_ROWS;
  past.beginAt(past.begin);
});
