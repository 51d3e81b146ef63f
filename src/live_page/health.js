// The health of the server: what /readyz says, and what of it /metrics counts.

const LOOK_EVERY_MS = 3000;
const LOOK_AGAIN_MS = 1000;
const LOOK_LIMIT_MS = 5000;
// What /metrics counts is less urgent.
const COUNT_EVERY_MS = 6000;
// The server reads once a second, whatever happens.
const USUAL_LAG_S = 2;

const health = {
  // Whether what commits now will be announced; null: not known.
  isReady: null,
  // What is wrong, as a sentence.
  fault: "",
  timer: 0,
  countedAt: 0,
  onChange: [],

  async look() {
    clearTimeout(this.timer);
    this.timer = 0;
    let checks = null;
    try {
      const response = await fetch(new URL("readyz", ROOT), { cache: "no-store", signal: AbortSignal.timeout(LOOK_LIMIT_MS) });
      ({ checks } = await response.json());
      this.isReady = response.ok;
    } catch {
      this.isReady = null;
    }
    this.show(checks);
    if (checks === null) this.count(null);
    else if (Date.now() - this.countedAt >= COUNT_EVERY_MS) await this.readCounts();
    clearTimeout(this.timer);
    this.timer = setTimeout(() => document.hidden || this.look(), this.isReady === true ? LOOK_EVERY_MS : LOOK_AGAIN_MS);
  },

  // Some answer said that the database is away, or who is connected has changed.
  lookSoon() {
    this.countedAt = 0;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.look(), 0);
  },

  show(checks) {
    const words = [];
    for (const name of ["database", "listen", "triggers", "lag"]) {
      const said = checks?.[name];
      const isOk = said === "ok";
      // Without the database nobody knows how they are now.
      const isOld = isOk && checks.database !== "ok" && name !== "listen";
      this.pill(name, said === undefined || isOld ? "unknown" : isOk ? "ok" : "bad", isOld ? "ok when last seen" : (said ?? "not known"));
      if (said !== undefined && !isOk) words.push(FAULTS[name](said));
    }
    this.fault = words[0] ?? "";
    for (const go of this.onChange) go();
  },

  pill(name, condition, text) {
    const pill = byId(`health-${name}`);
    pill.dataset.condition = condition;
    setText(pill.querySelector("dd"), text);
  },

  // They need a key where keys are set; without one the page does without them.
  async readCounts() {
    try {
      const headers = key() === null ? {} : { "x-api-key": key() };
      const response = await fetch(new URL("metrics", ROOT), { headers, cache: "no-store", signal: AbortSignal.timeout(LOOK_LIMIT_MS) });
      byId("metrics-link").hidden = response.status === 401 || key() !== null;
      this.countedAt = Date.now();
      this.count(response.ok ? await response.text() : null);
    } catch {
      this.count(null);
    }
  },

  count(text) {
    const values = (name) => [...(text ?? "").matchAll(new RegExp(`^space_events_${name}(?:{[^}]*})? (\\S+)$`, "gm"))].map(([, value]) => Number(value));
    const clients = values("clients");
    const [behind] = values("behind_seconds");
    const known = clients.length > 0;
    this.pill("clients", known ? "none" : "unknown", known ? clients.reduce((sum, count) => sum + count, 0).toLocaleString() : "not known");
    const lag = byId("health-lag");
    if (lag.dataset.condition === "ok" && behind >= USUAL_LAG_S) setText(lag.querySelector("dd"), duration(behind * 1000));
  },
};

// What each check means to whoever looks at events.
const FAULTS = {
  database: () => "The database is away. What commits meanwhile is announced when it is back.",
  listen: () => "The server is connecting to Postgres again, to listen. Events may come late.",
  triggers: (said) => `The triggers are not as they should be (${said}). Changes may not be recorded.`,
  lag: (said) => `The server is behind: ${said}. Events come late.`,
};

document.addEventListener("visibilitychange", () => {
  // What was known is old by now.
  health.isReady = null;
  for (const go of health.onChange) go();
  if (!document.hidden) health.look();
});
onNewKey.push(() => {
  health.countedAt = 0;
});
