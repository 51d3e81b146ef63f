// Calls the program by openapi-fetch, with the types that openapi-typescript made
// out of its document, and says what it got. It is compiled before it runs: what it
// reads from an answer has to be there by the types.
//
// node generated_client.mjs URL KEY

import createClient from "openapi-fetch";
import type { components, paths } from "./made.js";

const [baseUrl, key] = process.argv.slice(2) as [string, string];
const client = createClient<paths>({ baseUrl, headers: { "x-api-key": key } });
const say = (line: unknown) => process.stdout.write(`${JSON.stringify(line)}\n`);

// What succeeds has data, and what fails an error.
function got<T>({ data, error }: { data?: T; error?: components["schemas"]["Error"] }): T {
  if (data === undefined) throw new Error(error?.error);
  return data;
}

const FILE = 'saasName: TypeScript\nsyntaxVersion: "3.0"\nversion: "1"\ncreatedAt: "2024-03-05"\ncurrency: EUR\nfeatures: {}\nplans: {}\n';
const form = new FormData();
form.append("pricing", new Blob([FILE]), "pricing.yml");
const created = got(await client.POST("/api/v1/services", { body: { pricing: FILE }, bodySerializer: () => form }));
say({ created: created.name });
const params = { path: { serviceName: "TypeScript", version: "1" } };
const changed = got(await client.PUT("/api/v1/services/{serviceName}/pricings/{version}", { params }));
say({ archived: Object.keys(changed.archivedPricings ?? {}) });
say({ services: got(await client.GET("/api/v1/services")).map(({ name }) => name) });

const short = ({ code, details }: components["schemas"]["Announcement"]) => [code, details.serviceName, details.pricingVersion ?? null];
const page = got(await client.GET("/api/v1/events"));
say({ events: page.events.map(short) });
for (const { id, occurredAt, position } of page.events) {
  if (Number.isNaN(Date.parse(occurredAt)) || position === "" || id === "") throw new Error("an event is not whole");
}
const since = page.events[0]?.position ?? "";
say({ since: got(await client.GET("/api/v1/events", { params: { query: { since } } })).events.map(short) });
const query = { order: "desc", code: "PRICING_CREATED" } as const;
say({ created: got(await client.GET("/api/v1/events", { params: { query } })).events.map(short) });
const { changes } = got(await client.GET("/api/v1/changes", { params: { query: { order: "asc" } } }));
say({ changes: changes.map(({ event }) => (event === undefined ? "none" : short(event))) });
