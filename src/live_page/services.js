// The services, enabled and disabled: listed once, then read again as events name them.

const MAX_SERVICES = 1000;
const MAX_VERSIONS = 12;
// Where there are more, each opens by a click.
const OPEN_AT_MOST = 5;
// More changed services than this are listed anew rather than read one by one.
const MAX_SINGLE_READS = 10;
const READ_EVERY_MS = 200;
const TRY_AGAIN_MS = 3000;
const SEARCH_AFTER_MS = 300;

const services = {
  // Name to what is shown of it.
  shown: new Map(),
  loaded: false,
  // There were more than are listed: then the server searches.
  isPart: false,
  // What is to be read again: these, or all.
  changed: new Set(),
  all: false,
  timer: 0,

  // Lists them; the position from which to go on hearing of them.
  async load() {
    this.changed.clear();
    this.all = false;
    const part = this.isPart ? this.search() : "";
    // The first one's position: what changes until the second comes is heard.
    const [enabled, position] = await this.list(false, part);
    const [disabled] = await this.list(true, part);
    this.loaded = true;
    const all = [...enabled, ...disabled];
    const listed = new Set(all.map(({ name }) => name));
    for (const name of this.shown.keys()) if (!listed.has(name)) this.remove(name);
    all.forEach((service) => this.show(service, all.length <= OPEN_AT_MOST));
    const isFull = Math.max(enabled.length, disabled.length) === MAX_SERVICES;
    this.isPart ||= isFull;
    setText(byId("services-more"), isFull ? `The first ${MAX_SERVICES.toLocaleString()} by name; search for others.` : "");
    this.arrange();
    this.readSoon(READ_EVERY_MS);
    return position;
  },

  // Those whose names contain a part, and the position of the answer.
  async list(disabled, name) {
    const asked = new URLSearchParams({ limit: MAX_SERVICES, disabled, name });
    const answer = await request("GET", `services?${asked}`);
    return [await answer.json(), answer.headers.get("event-position") ?? ""];
  },

  said(text, isFault = false) {
    sayAt(byId("services-said"), text, isFault);
  },

  search: () => byId("service-search").value.trim().toLowerCase(),

  // What an event says of a service may be old by now; what is read after it is not.
  note(name) {
    if (this.changed.size >= MAX_SINGLE_READS) this.all = true;
    else this.changed.add(name);
    this.readSoon(READ_EVERY_MS);
  },

  readAll() {
    this.all = true;
    this.readSoon(READ_EVERY_MS);
  },

  readSoon(wait) {
    if (this.loaded && (this.all || this.changed.size > 0)) this.timer ||= setTimeout(() => this.read(), wait);
  },

  // `timer` stays set meanwhile: one read at a time.
  async read() {
    const names = [...this.changed];
    const { all } = this;
    const begunAt = Date.now();
    let wait = READ_EVERY_MS;
    try {
      this.changed.clear();
      if (all) await this.load();
      else for (const name of names) await this.readOne(name);
      this.arrange();
      // What takes long is done less often.
      wait += 5 * (Date.now() - begunAt);
    } catch (error) {
      // Asked again with another key.
      if (error.status === 401 || error.status === 403) this.loaded = false;
      this.all = true;
      wait = TRY_AGAIN_MS;
    }
    this.timer = 0;
    this.readSoon(wait);
  },

  // From the lists: a service that is asked for by its name may be disabled or gone.
  async readOne(name) {
    // One more may be one too many, or not be searched for.
    if (!this.shown.has(name) && (this.isPart || this.shown.size >= MAX_SERVICES)) return this.load();
    for (const disabled of [false, true]) {
      const [list] = await this.list(disabled, name);
      const service = list.find((one) => isSameName(one.name, name));
      if (service !== undefined) {
        if (service.name !== name) this.remove(name);
        return this.show(service);
      }
      // It may be among those that the answer has no room for.
      if (list.length === MAX_SERVICES) return this.load();
    }
    this.remove(name);
  },

  remove(name) {
    const item = this.shown.get(name)?.item;
    if (item?.contains(document.activeElement)) byId("services-title").focus();
    item?.remove();
    this.shown.delete(name);
  },

  show(service, isOpen = this.shown.size < OPEN_AT_MOST) {
    let placed = this.shown.get(service.name);
    if (placed === undefined) {
      // By another spelling, as before it was renamed.
      for (const name of this.shown.keys()) if (isSameName(name, service.name)) this.remove(name);
      placed = new ServiceItem(service.name, isOpen);
      this.shown.set(service.name, placed);
    }
    placed.show(service);
  },

  // Puts each into its list, by name. What is in its place stays: nobody loses theirs.
  arrange() {
    const sorted = [...this.shown].sort(([one], [other]) => byName.compare(one, other));
    this.shown = new Map(sorted);
    for (const [list, isDisabled] of [["service-list", false], ["disabled-list", true]]) {
      const items = sorted.map(([, placed]) => placed).filter((placed) => placed.disabled === isDisabled);
      let place = byId(list).firstElementChild;
      for (const { item } of items) {
        if (item === place) {
          place = place.nextElementSibling;
          continue;
        }
        const hadFocus = item.contains(document.activeElement) ? document.activeElement : null;
        byId(list).insertBefore(item, place);
        hadFocus?.focus();
      }
    }
    const names = [...this.shown.keys()];
    if (names.join("\n") !== this.named) byId("service-names").replaceChildren(...names.map((name) => element("option", { value: name })));
    this.named = names.join("\n");
    this.find();
  },

  // Shows those whose name contains what is searched for.
  find() {
    const part = this.search();
    const found = { true: 0, false: 0 };
    for (const [name, { item, disabled }] of this.shown) {
      item.hidden = !name.toLowerCase().includes(part);
      if (!item.hidden) found[disabled] += 1;
    }
    const count = this.shown.size;
    byId("disabled-title").hidden = found.true === 0;
    setText(byId("disabled-title"), `Disabled (${found.true.toLocaleString()})`);
    setText(byId("services-count"), count === 0 ? "" : `(${found.false.toLocaleString()})`);
    byId("service-search").hidden = count <= OPEN_AT_MOST && part === "";
    const none = part === "" ? "No service yet." : `No service whose name contains “${part}”.`;
    setText(byId("services-empty"), this.loaded && found.true + found.false === 0 ? none : "");
  },
};

const isSameName = (one, other) => one.toLowerCase() === other.toLowerCase();
const byName = new Intl.Collator(undefined, { numeric: true });

let searching = 0;
byId("service-search").addEventListener("input", () => {
  services.find();
  clearTimeout(searching);
  if (services.isPart) searching = setTimeout(() => services.readAll(), SEARCH_AFTER_MS);
});
