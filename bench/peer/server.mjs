// What one would write by hand: the events come as payloads of NOTIFY, and
// Socket.IO broadcasts them.
//
// It knows no coming back, loses what commits while its connection is away, and
// announces the pricings of disabled services too.

import { createServer } from "node:http";
import pg from "pg";
import { Server } from "socket.io";

const connectionString = process.env.DATABASE_URL;
const pool = new pg.Pool({ connectionString, max: 10 });

const server = createServer((request, response) => {
  answer(request).then(
    ([status, body]) => {
      response.writeHead(status, { "content-type": "application/json" });
      response.end(JSON.stringify(body));
    },
    (error) => {
      console.error(error);
      response.writeHead(500, { "content-type": "application/json" });
      response.end(JSON.stringify({ error: "something went wrong" }));
    },
  );
});

const PRICING_PATH = /^\/api\/v1\/services\/([^/]+)\/pricings\/([^/]+)$/;

async function answer(request) {
  const url = new URL(request.url, "http://localhost");
  const path = PRICING_PATH.exec(url.pathname);
  if (request.method !== "PUT" || !path) {
    return [404, { error: "there is nothing at this path" }];
  }
  const availability = url.searchParams.get("availability");
  if (availability !== "active" && availability !== "archived") {
    return [400, { error: "availability is active or archived" }];
  }
  const [, serviceName, version] = path.map(decodeURIComponent);
  const updated = await pool.query(
    `update pricings set availability = $3, updated_at = now()
     where service_name = $1 and version = $2`,
    [serviceName, version, availability],
  );
  if (updated.rowCount === 0) {
    return [404, { error: "no such pricing" }];
  }
  return [200, await service(serviceName)];
}

async function service(name) {
  const { rows } = await pool.query(
    `select s.id, s.name, s.disabled, s.created_at, s.updated_at,
       p.id as pricing_id, p.version, p.availability, p.url
     from services s join pricings p on p.service_name = s.name
     where s.name = $1
     order by p.id`,
    [name],
  );
  const pricings = (availability) =>
    Object.fromEntries(
      rows
        .filter((row) => row.availability === availability)
        .map((row) => [row.version, row.url ? { url: row.url } : { id: Number(row.pricing_id) }]),
    );
  const [{ id, disabled, created_at, updated_at }] = rows;
  return {
    id: Number(id),
    name,
    disabled,
    activePricings: pricings("active"),
    archivedPricings: pricings("archived"),
    createdAt: created_at,
    updatedAt: updated_at,
  };
}

const io = new Server(server, { path: "/events" });
const pricings = io.of("/pricings");

const listener = new pg.Client({ connectionString });
listener.on("notification", ({ payload }) => pricings.emit("message", JSON.parse(payload)));
await listener.connect();
await listener.query("listen events");

server.listen(Number(process.env.PORT ?? 5403), "127.0.0.1", () => {
  console.log(`listening on http://127.0.0.1:${server.address().port}`);
});
