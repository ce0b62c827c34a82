/**
 * The yardstick: the least that a homeserver has to do for a message. Koa, canonical JSON, hash,
 * signature, one insert for all that came in during the last commit, answer. It knows no rooms, no
 * users, no rules, no readers.
 */
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import Koa from "koa";
import { buildEvent, type RoomEvent } from "../spec/event-format.ts";
import type { EventId, RoomId } from "../spec/identifiers.ts";
import { roomVersions } from "../spec/room-versions.ts";
import { SigningKey } from "../spec/signing.ts";
import { openDatabase } from "../storage/database.ts";

const database = openDatabase({ url: process.env["BENCH_DATABASE"] ?? "" }, console.error);
const client = await database.connect();
await client.query("create table yardstick (event_id text primary key, json text not null)");
const version = roomVersions.get("12");
if (version === undefined) throw new Error("no room version 12");
const signer = { serverName: "localhost", key: new SigningKey("a", Buffer.alloc(32, 1)) };
const previous: EventId = `$${"A".repeat(43)}`;

let queue: { event: RoomEvent; resolve: () => void; reject: (error: unknown) => void }[] = [];
let isCommitting = false;

async function commit(): Promise<void> {
  if (isCommitting) return;
  isCommitting = true;
  while (queue.length > 0) {
    const batch = queue;
    queue = [];
    try {
      await client.query({
        name: "insert",
        text: "insert into yardstick select * from unnest($1::text[], $2::text[])",
        values: [batch.map(({ event }) => event.eventId), batch.map(({ event }) => event.json)],
      });
      for (const { resolve } of batch) resolve();
    } catch (error) {
      for (const { reject } of batch) reject(error);
    }
  }
  isCommitting = false;
}

let depth = 0;
const app = new Koa();
app.use(async (context) => {
  const parts: Buffer[] = [];
  for await (const part of context.req) parts.push(part as Buffer);
  const content = JSON.parse(Buffer.concat(parts).toString()) as Record<string, unknown>;
  const roomId = decodeURIComponent(context.path.split("/")[5] ?? "") as RoomId;
  depth += 1;
  const event = buildEvent(
    {
      room_id: roomId,
      type: "m.room.message",
      sender: "@bench:localhost",
      content,
      origin_server_ts: Date.now(),
      depth,
      prev_events: [previous],
      auth_events: [previous, previous],
    },
    version,
    signer,
  );
  await new Promise<void>((resolve, reject) => {
    queue.push({ event, resolve, reject });
    void commit();
  });
  context.body = { event_id: event.eventId };
});
const handle = app.callback();
const server = createServer({ keepAliveTimeout: 0 }, (request, response) => {
  void handle(request, response);
}).listen(0, "127.0.0.1");
await once(server, "listening");
process.on("SIGTERM", () => {
  server.closeAllConnections();
  void client
    .end()
    .then(() => database[Symbol.asyncDispose]())
    .then(() => process.exit(0));
});
process.send?.(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
