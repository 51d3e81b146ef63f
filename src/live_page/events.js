// The events: counted as they come, shown once a frame.

// What can be shown when a filter changes, and what is shown at a time.
const MAX_KEPT = 2000;
const MAX_ROWS = 200;
// In a burst every row is another each time: then now and then is enough.
const MANY_ROWS = 50;
const DRAW_MANY_EVERY_MS = 250;
const ANNOUNCE_EVERY_MS = 5000;

const events = {
  // Events, and notices among them, numbered from 0, the oldest first:
  // {number, at, code, service, version, before, delay, cell} or {number, at, notice}.
  kept: [],
  next: 0,
  // Entries below this number have been drawn.
  drawn: 0,
  // While paused, only entries below this number are shown.
  pausedAt: null,
  total: 0,
  counts: new Map(CODES.map(({ code }) => [code, 0])),
  hidden: new Set(),
  filter: "",
  // Whether it will be drawn.
  due: false,
  notBefore: 0,
  announced: { at: 0, total: 0, timer: 0 },

  // `before` is the position before the event; empty where it is not known.
  add({ code, details }, before) {
    this.total += 1;
    this.counts.set(code, (this.counts.get(code) ?? 0) + 1);
    chart.count(code);
    this.keep({ code, service: details?.serviceName ?? "", version: details?.pricingVersion ?? "", before });
  },

  notice(text) {
    this.keep({ notice: text });
  },

  keep(entry) {
    this.kept.push(Object.assign(entry, { number: this.next, at: Date.now() }));
    this.next += 1;
    if (this.kept.length >= 2 * MAX_KEPT) this.kept.splice(0, this.kept.length - MAX_KEPT);
    if (this.due) return;
    this.due = true;
    setTimeout(() => requestAnimationFrame(() => this.draw()), Math.max(this.notBefore - Date.now(), 0));
  },

  passes(entry) {
    if (entry.notice !== undefined) return true;
    return !this.hidden.has(entry.code) && entry.service.toLowerCase().includes(this.filter);
  },

  draw() {
    this.due = false;
    const rows = byId("rows");
    const end = this.pausedAt ?? this.next;
    const fresh = [];
    for (let place = this.kept.length - 1; place >= 0 && fresh.length < MAX_ROWS; place -= 1) {
      const entry = this.kept[place];
      if (entry.number < this.drawn) break;
      if (entry.number < end && this.passes(entry)) fresh.push(entry);
    }
    this.drawn = Math.max(this.drawn, end);
    if (fresh.length > MANY_ROWS) this.notBefore = Date.now() + DRAW_MANY_EVERY_MS;
    rows.prepend(...fresh.map(rowOf));
    while (rows.childElementCount > MAX_ROWS) rows.lastElementChild.remove();
    byId("empty").hidden = rows.childElementCount > 0;
    setText(byId("total"), this.total.toLocaleString());
    for (const { code } of CODES) setText(byId(`count-${code}`), this.counts.get(code).toLocaleString());
    const waiting = this.next - end;
    setText(byId("pause"), this.pausedAt === null ? "Pause" : waiting === 0 ? "Go on" : `Go on (${waiting.toLocaleString()} new)`);
    if (fresh.length > 0) delays.learn();
    this.announce();
  },

  drawAnew() {
    byId("rows").replaceChildren();
    this.drawn = 0;
    this.draw();
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
  const at = new Date(entry.at);
  const pad = (number, digits = 2) => String(number).padStart(digits, "0");
  const time = `${pad(at.getHours())}:${pad(at.getMinutes())}:${pad(at.getSeconds())}`;
  const cell = (name, ...children) => element("td", { role: "cell", class: name }, ...children);
  const heardAt = cell("time", element("time", { datetime: at.toISOString() }, time, element("span", { class: "quiet" }, `.${pad(at.getMilliseconds(), 3)}`)));
  if (entry.notice !== undefined) {
    const said = cell("notice", entry.notice);
    said.colSpan = 4;
    return element("tr", { role: "row", class: "notice" }, heardAt, said);
  }
  entry.cell = cell("delay", delays.text(entry.delay));
  return element("tr", { role: "row" }, heardAt, cell("what", codeName(entry.code)), cell("service", entry.service), cell("version", entry.version), entry.cell);
}

function codeName(code) {
  const known = CODES.find((one) => one.code === code);
  const mark = element("span", { class: "mark", "aria-hidden": "true" }, known?.mark ?? "?");
  return element("span", { class: `code ${known?.code ?? ""}` }, mark, code);
}

for (const { code } of CODES) {
  const box = element("input", { type: "checkbox", id: `show-${code}` });
  box.checked = true;
  box.addEventListener("change", () => {
    if (box.checked) events.hidden.delete(code);
    else events.hidden.add(code);
    events.drawAnew();
  });
  byId("codes").append(element("label", {}, box, codeName(code), element("span", { class: "count", id: `count-${code}` }, "0")));
}

byId("service-filter").addEventListener("input", ({ target }) => {
  events.filter = target.value.trim().toLowerCase();
  events.drawAnew();
});

byId("pause").addEventListener("click", () => {
  events.pausedAt = events.pausedAt === null ? events.next : null;
  byId("pause").setAttribute("aria-pressed", String(events.pausedAt !== null));
  events.draw();
});

byId("clear").addEventListener("click", () => {
  events.kept = [];
  events.total = 0;
  events.announced.total = 0;
  for (const code of events.counts.keys()) events.counts.set(code, 0);
  if (events.pausedAt !== null) events.pausedAt = events.next;
  delays.clear();
  events.drawAnew();
});
