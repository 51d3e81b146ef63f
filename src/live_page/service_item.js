// One service in the list, with its pricings once it is opened. What an action came to
// is said beside it.

class ServiceItem {
  constructor(name, isOpen) {
    this.name = name;
    this.disabled = null;
    // Version to its row, and the versions that are there: those are shown.
    this.versions = new Map();
    this.pricings = { active: {}, archived: {} };
    this.isOpen = isOpen;
    this.toggle = element("button", { type: "button", class: "open", title: name }, name);
    this.toggle.addEventListener("click", () => {
      this.isOpen = !this.isOpen;
      this.showPricings();
    });
    this.count = element("span", { class: "quiet count" });
    const follow = element("button", { type: "button", "aria-label": `Follow ${name}` }, "Follow");
    follow.addEventListener("click", () => view.follow(name));
    this.button = element("button", { type: "button" });
    this.actions = element("div", { class: "line actions" }, this.button, follow);
    this.status = element("p", { class: "status" });
    this.list = element("ul", { "aria-label": `Pricings of ${name}` });
    this.more = element("p", { class: "hint" });
    this.item = element(
      "li", { class: "service-item" },
      element("div", { class: "line" }, element("h3", {}, this.toggle), this.count),
      this.actions, this.status, this.list, this.more,
    );
    this.act(this.button, async () => {
      const disable = !this.disabled;
      if (disable && !confirm(`Disable ${name}? Clients are told SERVICE_DISABLED. It can be enabled again.`)) return "";
      await request("PUT", `services/${pathOf(name)}`, { type: "application/json", text: JSON.stringify({ disabled: disable }) });
      services.note(name);
      return disable ? "Disabled." : "Enabled.";
    });
  }

  show({ disabled, activePricings, archivedPricings = {} }) {
    this.disabled = disabled;
    this.pricings = { active: activePricings, archived: archivedPricings };
    const verb = disabled ? "Enable" : "Disable";
    setText(this.button, verb);
    this.button.setAttribute("aria-label", `${verb} ${this.name}`);
    this.button.classList.toggle("danger", !disabled);
    this.showPricings();
  }

  // Shows what changed and leaves the rest, so that nobody loses their place.
  showPricings() {
    const { active, archived } = this.pricings;
    const all = [...Object.keys(active), ...Object.keys(archived)];
    this.toggle.setAttribute("aria-expanded", String(this.isOpen));
    setText(this.count, `${Object.keys(active).length.toLocaleString()} of ${all.length.toLocaleString()} active`);
    this.list.hidden = !this.isOpen;
    this.actions.hidden = !this.isOpen && !this.disabled;
    this.more.hidden = !this.isOpen || all.length <= MAX_VERSIONS;
    if (!this.isOpen) return;
    const now = greatest(all, MAX_VERSIONS);
    for (const [version, { item }] of this.versions) {
      if (now.includes(version)) continue;
      item.remove();
      this.versions.delete(version);
    }
    let before = null;
    for (const version of now) {
      if (!this.versions.has(version)) this.versions.set(version, this.pricingItem(version));
      const { item, update } = this.versions.get(version);
      update(Object.hasOwn(active, version) ? "active" : "archived");
      const next = before === null ? this.list.firstElementChild : before.nextElementSibling;
      if (next !== item) this.list.insertBefore(item, next);
      before = item;
    }
    setText(this.more, `and ${counted(all.length - now.length, "older version")}`);
  }

  // The row of a pricing: its button does one thing or the other, and stays itself.
  pricingItem(version) {
    const badge = element("span", { class: "availability" });
    const button = element("button", { type: "button" });
    const item = element("li", { class: "line" }, element("span", { class: "version", title: version }, version), badge, button);
    let next;
    this.act(button, async () => {
      const to = next;
      await request("PUT", `services/${pathOf(this.name)}/pricings/${pathOf(version)}?availability=${to}`);
      services.note(this.name);
      return `${to === "archived" ? "Archived" : "Activated"} ${version}.`;
    });
    const update = (availability) => {
      next = availability === "active" ? "archived" : "active";
      const verb = availability === "active" ? "Archive" : "Activate";
      setText(badge, availability);
      setText(button, verb);
      button.setAttribute("aria-label", `${verb} ${this.name} ${version}`);
      button.hidden = this.disabled;
      item.dataset.availability = availability;
    };
    return { item, update };
  }

  // One at a time; the button keeps the focus meanwhile. The second of a double click
  // would take back what the first did.
  act(button, work) {
    button.addEventListener("click", async ({ detail }) => {
      if (detail > 1 || button.getAttribute("aria-busy") === "true") return;
      button.setAttribute("aria-busy", "true");
      try {
        this.said(await work());
      } catch (error) {
        this.said(`That did not work. ${wordsFor(error)}`, true);
        // A renamed service is not announced: the list may be old.
        if (error.status === 404) services.readAll();
      }
      button.removeAttribute("aria-busy");
    });
  }

  said(text, isFault = false) {
    sayAt(this.status, text, isFault);
    // For screen readers, which listen to one place.
    setText(byId("service-announcement"), text === "" ? "" : `${this.name}: ${text}`);
  }
}

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
