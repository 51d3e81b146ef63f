// The services: listed once, then read again as events name them.

const MAX_SERVICES = 100;
const MAX_VERSIONS = 12;
// More changed services than this are listed anew rather than read one by one.
const MAX_SINGLE_READS = 10;
const READ_EVERY_MS = 200;
const TRY_AGAIN_MS = 3000;

const services = {
  // Name to what is shown of it, by name.
  shown: new Map(),
  loaded: false,
  // What is to be read again: these, or all.
  changed: new Set(),
  all: false,
  timer: 0,

  // Lists them; the position from which to go on hearing of them.
  async load() {
    this.changed.clear();
    this.all = false;
    const answer = await request("GET", `services?limit=${MAX_SERVICES}`);
    const list = await answer.json();
    this.loaded = true;
    const listed = new Set(list.map(({ name }) => name));
    for (const name of this.shown.keys()) if (!listed.has(name)) this.remove(name);
    list.forEach((service) => this.show(service));
    const full = list.length === MAX_SERVICES;
    byId("services-more").hidden = !full;
    setText(byId("services-more"), full ? `The first ${MAX_SERVICES} by name.` : "");
    byId("services-empty").hidden = this.shown.size > 0;
    byId("service-names").replaceChildren(...list.map(({ name }) => element("option", { value: name })));
    this.readSoon(READ_EVERY_MS);
    return answer.headers.get("event-position") ?? "";
  },

  said(text, isFault = false) {
    sayAt(byId("services-said"), text, isFault);
  },

  // What an event says of a service may be old by now; what is read after it is not.
  note(name, isGone = false) {
    if (isGone || name === "." || name === ".." || this.changed.size >= MAX_SINGLE_READS) this.all = true;
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

  async readOne(name) {
    // One more may be one too many, or come before another.
    if (!this.shown.has(name) && this.shown.size >= MAX_SERVICES) return this.load();
    try {
      const answer = await request("GET", `services/${pathOf(name)}`);
      const service = await answer.json();
      if (service.name !== name) this.remove(name);
      this.show(service);
    } catch (error) {
      if (error.status !== 404) throw error;
      this.remove(name);
    }
  },

  remove(name) {
    const item = this.shown.get(name)?.item;
    if (item?.contains(document.activeElement)) byId("services-title").focus();
    item?.remove();
    this.shown.delete(name);
    byId("services-empty").hidden = this.shown.size > 0;
  },

  // Shows what changed and leaves the rest, so that nobody loses their place.
  show({ name, activePricings, archivedPricings = {} }) {
    const { versions, list, more } = this.shown.get(name) ?? this.place(name);
    const all = [...Object.keys(activePricings), ...Object.keys(archivedPricings)];
    const now = greatest(all, MAX_VERSIONS);
    for (const [version, { item }] of versions) {
      if (now.includes(version)) continue;
      item.remove();
      versions.delete(version);
    }
    let before = null;
    for (const version of now) {
      if (!versions.has(version)) versions.set(version, pricingItem(name, version));
      const { item, update } = versions.get(version);
      update(Object.hasOwn(activePricings, version) ? "active" : "archived");
      const next = before === null ? list.firstElementChild : before.nextElementSibling;
      if (next !== item) list.insertBefore(item, next);
      before = item;
    }
    const rest = all.length - now.length;
    more.hidden = rest === 0;
    setText(more, rest === 0 ? "" : `and ${counted(rest, "older version")}`);
  },

  place(name) {
    const list = element("ul", { "aria-label": `Pricings of ${name}` });
    const more = element("p", { class: "hint" });
    const disable = element("button", { type: "button", class: "danger", "aria-label": `Disable ${name}` }, "Disable");
    act(disable, async () => {
      if (!confirm(`Disable ${name}? Its pricings will be archived.`)) return;
      await request("DELETE", `services/${pathOf(name)}`);
      this.note(name, true);
      this.said(`Disabled ${name}.`);
    });
    const item = element("li", { class: "service" }, element("div", { class: "line" }, element("h3", {}, name), disable), list, more);
    const after = [...this.shown].find(([other]) => byName.compare(other, name) > 0);
    const placed = { item, list, more, versions: new Map() };
    byId("service-list").insertBefore(item, after?.[1].item ?? null);
    this.shown.set(name, placed);
    // Kept by name, as the list is.
    this.shown = new Map([...this.shown].sort(([one], [other]) => byName.compare(one, other)));
    byId("services-empty").hidden = true;
    return placed;
  },
};

const byName = new Intl.Collator(undefined, { numeric: true });

// The `count` greatest, in falling order; there may be many more to sort.
function greatest(versions, count) {
  const found = [];
  for (const version of versions) {
    if (found.length === count && byName.compare(version, found.at(-1)) <= 0) continue;
    const place = found.findIndex((other) => byName.compare(version, other) > 0);
    found.splice(place < 0 ? found.length : place, 0, version);
    if (found.length > count) found.pop();
  }
  return found;
}

// The row of a pricing: its button does one thing or the other, and stays itself.
function pricingItem(name, version) {
  const badge = element("span", { class: "availability" });
  const button = element("button", { type: "button" });
  const item = element("li", { class: "line" }, element("span", { class: "version" }, version), badge, button);
  let next;
  act(button, async () => {
    await request("PUT", `services/${pathOf(name)}/pricings/${pathOf(version)}?availability=${next}`);
    services.note(name);
    services.said(`${next === "archived" ? "Archived" : "Activated"} ${name} ${version}.`);
  });
  const update = (availability) => {
    next = availability === "active" ? "archived" : "active";
    const verb = availability === "active" ? "Archive" : "Activate";
    setText(badge, availability);
    setText(button, verb);
    button.setAttribute("aria-label", `${verb} ${name} ${version}`);
    item.dataset.availability = availability;
  };
  return { item, update };
}

// One at a time; the button keeps the focus meanwhile.
function act(button, work) {
  button.addEventListener("click", async () => {
    if (button.getAttribute("aria-busy") === "true") return;
    button.setAttribute("aria-busy", "true");
    try {
      await work();
    } catch (error) {
      services.said(`That did not work. ${wordsFor(error)}`, true);
      // A renamed service is not announced: the list may be old.
      if (error.status === 404) services.readAll();
    }
    button.removeAttribute("aria-busy");
  });
}

// Adding a pricing: as a new service, or to one that is there.

const yaml = byId("pricing");

byId("file").addEventListener("change", async ({ target }) => {
  const [file] = target.files;
  if (file) yaml.value = await file.text();
});

byId("upload").addEventListener("submit", async (event) => {
  event.preventDefault();
  const said = (text, isFault) => sayAt(byId("upload-said"), text, isFault);
  said("Adding…");
  try {
    said(`Added ${await addPricing(yaml.value)}.`);
    // The next click adds the next version.
    yaml.value = yaml.value.replace(/^(version:\s*["']?(?:\d+\.)*)(\d+)/m, (_, start, number) => start + (Number(number) + 1));
  } catch (error) {
    said(`Not added. ${wordsFor(error)}`, true);
  }
});

async function addPricing(document) {
  const name = document.match(/^saasName:[ \t]*(["']?)(.+?)\1[ \t]*(?:#.*)?$/m)?.[2] ?? "";
  const asVersion = () => request("POST", `services/${pathOf(name)}/pricings`, document);
  // Names match without regard to case.
  const isShown = [...services.shown.keys()].some((shown) => shown.toLowerCase() === name.toLowerCase());
  const answer = await (isShown ? asVersion() : request("POST", "services", document).catch((error) => {
    // There are more services than are shown.
    if (error.status === 409 && name !== "") return asVersion();
    throw error;
  }));
  const service = await answer.json();
  services.note(service.name);
  return `a pricing of ${service.name}`;
}
