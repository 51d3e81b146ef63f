// What is shown, as the page's address says it: the tab, one service, some codes.
// So a view can be kept and passed on: ?service=Zoom&code=PRICING_ARCHIVED

const CODES = [
  // A colour of its own (look.css), and a mark for those who do not see it.
  { code: "PRICING_CREATED", mark: "+" },
  { code: "PRICING_ACTIVED", mark: "↑" },
  { code: "PRICING_ARCHIVED", mark: "↓" },
  { code: "SERVICE_DISABLED", mark: "×" },
];
const TABS = ["events", "changes"];

const view = {
  tab: TABS[0],
  // Its whole name, in any case; empty: all.
  service: "",
  codes: new Set(),
  // Called after what passes the filter has changed; after another tab.
  onFilter: [],
  onTab: [],

  read() {
    const asked = new URLSearchParams(location.search);
    const known = CODES.map(({ code }) => code);
    if (TABS.includes(asked.get("tab"))) this.tab = asked.get("tab");
    this.service = asked.get("service")?.trim() ?? "";
    this.codes = new Set(asked.has("code") ? asked.getAll("code").filter((code) => known.includes(code)) : known);
  },

  write() {
    const say = new URLSearchParams();
    if (this.tab !== TABS[0]) say.set("tab", this.tab);
    if (this.service !== "") say.set("service", this.service);
    if (this.allCodes() === false) [...this.codes].forEach((code) => say.append("code", code));
    if (this.codes.size === 0) say.set("code", "");
    const query = say.toString();
    history.replaceState(null, "", query === "" ? location.pathname : `?${query}`);
  },

  allCodes() {
    return this.codes.size === CODES.length;
  },

  isFiltered() {
    return this.service !== "" || !this.allCodes();
  },

  // What the filter lets through, in words.
  words() {
    const parts = [];
    if (this.service !== "") parts.push(`service “${this.service}”`);
    if (!this.allCodes()) parts.push(this.codes.size === 0 ? "no code" : `code ${[...this.codes].join(" or ")}`);
    return parts.join(", ");
  },

  passes({ code, service }) {
    return this.codes.has(code) && this.isService(service);
  },

  isService(name) {
    return this.service === "" || name.toLowerCase() === this.service.toLowerCase();
  },

  follow(service) {
    if (service === this.service) return;
    this.service = service;
    this.changed();
  },

  everything() {
    this.service = "";
    this.codes = new Set(CODES.map(({ code }) => code));
    this.changed();
  },

  changed() {
    this.write();
    this.show();
    for (const go of this.onFilter) go();
  },

  show() {
    const field = byId("service-filter");
    if (field.value.trim() !== this.service) field.value = this.service;
    for (const { code } of CODES) byId(`show-${code}`).checked = this.codes.has(code);
    byId("everything").hidden = !this.isFiltered();
  },

  open(tab) {
    this.tab = tab;
    this.write();
    this.showTab();
    for (const go of this.onTab) go();
  },

  showTab() {
    for (const tab of TABS) {
      const isOpen = tab === this.tab;
      byId(`tab-${tab}`).setAttribute("aria-selected", String(isOpen));
      byId(`tab-${tab}`).tabIndex = isOpen ? 0 : -1;
      byId(tab).hidden = !isOpen;
    }
    byId("codes").hidden = this.tab !== "events";
  },
};

function codeName(code) {
  const known = CODES.find((one) => one.code === code);
  const mark = element("span", { class: "mark", "aria-hidden": "true" }, known?.mark ?? "?");
  return element("span", { class: `code ${known?.code ?? ""}` }, mark, code);
}

view.read();

for (const { code } of CODES) {
  const box = element("input", { type: "checkbox", id: `show-${code}` });
  box.addEventListener("change", () => {
    if (box.checked) view.codes.add(code);
    else view.codes.delete(code);
    view.changed();
  });
  byId("codes").append(element("label", {}, box, codeName(code), element("span", { class: "count", id: `count-${code}` }, "0")));
}

// A name is followed when it is whole: chosen from the list, or ended by Enter.
byId("service-filter").addEventListener("input", ({ target }) => {
  const name = target.value.trim();
  const isKnown = [...byId("service-names").children].some((option) => option.value === name);
  if (name === "" || isKnown) view.follow(name);
});
byId("service-filter").addEventListener("change", ({ target }) => view.follow(target.value.trim()));
byId("everything").addEventListener("click", () => view.everything());

for (const tab of TABS) {
  byId(`tab-${tab}`).addEventListener("click", () => view.open(tab));
  byId(`tab-${tab}`).addEventListener("keydown", ({ key: pressed }) => {
    if (pressed !== "ArrowLeft" && pressed !== "ArrowRight") return;
    const other = TABS[(TABS.indexOf(tab) + 1) % TABS.length];
    view.open(other);
    byId(`tab-${other}`).focus();
  });
}

view.show();
view.showTab();
