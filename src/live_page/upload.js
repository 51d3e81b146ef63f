// Adding a pricing: as a new service, or to one that is there.

const yaml = byId("pricing");
const addButton = byId("add");

byId("file").addEventListener("change", async ({ target }) => {
  const [file] = target.files;
  if (file) yaml.value = await file.text();
});

// The second of a double click is not another pricing.
addButton.addEventListener("click", (event) => {
  if (event.detail > 1) event.preventDefault();
});

byId("upload").addEventListener("submit", async (event) => {
  event.preventDefault();
  if (addButton.getAttribute("aria-busy") === "true") return;
  const said = (text, isFault) => sayAt(byId("upload-said"), text, isFault);
  addButton.setAttribute("aria-busy", "true");
  said("Adding…");
  try {
    said(`Added ${await addPricing(yaml.value)}.`);
    // The next click adds the next version.
    yaml.value = yaml.value.replace(/^(version:\s*["']?(?:\d+\.)*)(\d+)/m, (_, start, number) => start + (Number(number) + 1));
  } catch (error) {
    said(`Not added. ${wordsFor(error)}`, true);
  }
  addButton.removeAttribute("aria-busy");
});

async function addPricing(document) {
  const name = document.match(/^saasName:[ \t]*(["']?)(.+?)\1[ \t]*(?:#.*)?$/m)?.[2] ?? "";
  const version = document.match(/^version:[ \t]*(["']?)(.+?)\1[ \t]*(?:#.*)?$/m)?.[2];
  const body = { type: "application/yaml", text: document };
  const asVersion = () => request("POST", `services/${pathOf(name)}/pricings`, body);
  // Names match without regard to case. A disabled one is enabled again as a new one is added.
  const isThere = [...services.shown.values()].some((one) => !one.disabled && isSameName(one.name, name));
  const answer = await (isThere ? asVersion() : request("POST", "services", body).catch((error) => {
    // There are more services than are shown.
    if (error.status === 409 && name !== "") return asVersion();
    throw error;
  }));
  const service = await answer.json();
  services.note(service.name);
  return version === undefined ? `a pricing of ${service.name}` : `${service.name} ${version}`;
}
