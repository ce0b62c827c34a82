/**
 * `kill -9` of the server and of its PostgreSQL, again and again, under load: nothing that was
 * acknowledged is lost, nothing is there twice, the stream has no gap, and a client that never stopped
 * syncing has seen each message once and in the order of the room.
 */
import assert from "node:assert/strict";
import { type ChildProcess, fork } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { Agent } from "node:http";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { startEmbeddedPostgres } from "../../storage/embedded-postgres.ts";
import { openDatabase } from "../../storage/database.ts";
import { send } from "./requests.ts";

const KILLS = Number(process.env["GOMIN_TEST_KILLS"] ?? 10);
const WRITERS = 64;
/** Which victims, and when: the same for the same seed. */
const SEED = Number(process.env["GOMIN_TEST_SEED"] ?? 20_240_229);
/** Most time between two kills, in ms, from when the server answers again. */
const MAX_PAUSE_MS = 400;

interface Written {
  body: string;
  eventId: string;
}

test(
  `${KILLS} kills under ${WRITERS} writers lose, double and misplace nothing`,
  { timeout: 600_000 },
  async (t) => {
    t.diagnostic(`seed ${SEED}`);
    const folder = await mkdtemp(join(tmpdir(), "gomin-crash-"));
    const port = await freePort();
    const file = join(folder, "gomin.yaml");
    await writeFile(
      file,
      JSON.stringify({
        server_name: "localhost",
        data_dir: folder,
        listeners: [{ port, bind_addresses: ["127.0.0.1"], resources: ["client"] }],
        registration_requires_token: false,
        enable_registration_without_verification: true,
        enable_rate_limits: false,
        log: { level: "error" },
      }),
    );
    const agent = new Agent({ keepAlive: true });
    const baseUrl = `http://127.0.0.1:${port}`;
    let server = await startServer(file);
    const stopped = new AbortController();
    try {
      const alice = await register(baseUrl, "alice");
      const bob = await register(baseUrl, "bob");
      const asAlice = { baseUrl, token: alice, agent };
      const asBob = { baseUrl, token: bob, agent };
      const made = await send(asAlice, "POST", "/_matrix/client/v3/createRoom", {
        preset: "public_chat",
      });
      const room = encodeURIComponent(String(made.body["room_id"]));
      await send(asBob, "POST", `/_matrix/client/v3/join/${room}`, {});

      // Writers that repeat each message, under its transaction ID, until it is acknowledged.
      const written: Written[] = [];
      const writers = Array.from({ length: WRITERS }, async (_, writer) => {
        for (let i = 0; !stopped.signal.aborted; i += 1) {
          const body = `${writer}/${i}`;
          const path = `/_matrix/client/v3/rooms/${room}/send/m.room.message/${writer}-${i}`;
          const answer = await send(asAlice, "PUT", path, { msgtype: "m.text", body });
          written.push({ body, eventId: String(answer.body["event_id"]) });
          await sleep(20);
        }
      });

      // A client that never stops.
      const seen: Written[] = [];
      let since: string | undefined;
      const poll = async (timeout: number): Promise<number> => {
        const query = since === undefined ? "" : `&since=${since}`;
        const filter = encodeURIComponent(JSON.stringify({ room: { timeline: { limit: 5000 } } }));
        const path = `/_matrix/client/v3/sync?timeout=${timeout}&filter=${filter}${query}`;
        const { body } = await send(asBob, "GET", path);
        const rooms = body["rooms"] as { join?: Record<string, Timeline> } | undefined;
        const timeline = rooms?.join?.[decodeURIComponent(room)]?.timeline;
        assert.notEqual(timeline?.limited, true, "the timeline has a gap");
        const messages = messagesIn(timeline?.events ?? []);
        seen.push(...messages);
        since = String(body["next_batch"]);
        return messages.length;
      };
      const reader = (async () => {
        while (!stopped.signal.aborted) await poll(1000);
      })();

      const random = mulberry32(SEED);
      for (let kill = 0; kill < KILLS; kill += 1) {
        await sleep(random() * MAX_PAUSE_MS);
        if (random() < 0.5) {
          await killPostgres(folder);
          await send(asBob, "GET", "/_matrix/client/v3/account/whoami");
        } else {
          server.kill("SIGKILL");
          await once(server, "exit");
          server = await startServer(file);
        }
      }
      stopped.abort();
      await Promise.all([...writers, reader]);
      while ((await poll(0)) > 0);

      const history = await readHistory(asAlice, room);
      const ids = new Map(history.map(({ body, eventId }) => [body, eventId]));
      assert.equal(ids.size, history.length, "no message is there twice");
      for (const { body, eventId } of written) assert.equal(ids.get(body), eventId, body);
      assert.ok(written.length > WRITERS, "the writers wrote");
      assert.deepEqual(seen, history, "the client saw each message once, in the room's order");
      t.diagnostic(`${written.length} messages acknowledged`);

      const gap = await streamGap(folder);
      assert.deepEqual(gap, { missing: 0, beyond: 0 });
    } finally {
      stopped.abort();
      agent.destroy();
      server.kill("SIGTERM");
      await once(server, "exit");
      await stopPostgres(folder);
      await rm(folder, { recursive: true, force: true });
    }
  },
);

interface Timeline {
  timeline?: { limited?: boolean; events?: unknown[] };
}

function messagesIn(events: readonly unknown[]): Written[] {
  return events.flatMap((event) => {
    const { type, event_id: eventId, content } = event as Record<string, unknown>;
    if (type !== "m.room.message") return [];
    return [{ body: (content as { body: string }).body, eventId: String(eventId) }];
  });
}

async function readHistory(user: Parameters<typeof send>[0], room: string): Promise<Written[]> {
  const history: Written[] = [];
  let from = "";
  for (;;) {
    const path = `/_matrix/client/v3/rooms/${room}/messages?dir=f&limit=500${from}`;
    const { body } = await send(user, "GET", path);
    history.push(...messagesIn(body["chunk"] as unknown[]));
    if (typeof body["end"] !== "string") return history;
    from = `&from=${body["end"]}`;
  }
}

/** Positions that the stream lacks, and entries beyond its head. */
async function streamGap(folder: string): Promise<{ missing: number; beyond: number }> {
  await using postgres = await startEmbeddedPostgres({
    dataDir: folder,
    onProblem: () => undefined,
  });
  await using database = openDatabase(postgres.connection, () => undefined);
  const { rows } = await database.pool.query<{ missing: string; beyond: string }>(
    `select h.position - (select count(*) from stream) as missing,
       (select count(*) from stream s where s.position > h.position) as beyond from stream_head h`,
  );
  return { missing: Number(rows[0]?.missing), beyond: Number(rows[0]?.beyond) };
}

async function killPostgres(folder: string): Promise<void> {
  const text = await readFile(
    join(folder, "postgres", "cluster", "data", "postmaster.pid"),
    "utf8",
  ).catch(() => "");
  const pid = Number(text.split("\n")[0]);
  if (!(pid > 1)) return;
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // It is down already, from the kill before.
  }
}

async function stopPostgres(folder: string): Promise<void> {
  const postgres = await startEmbeddedPostgres({ dataDir: folder, onProblem: () => undefined });
  await postgres[Symbol.asyncDispose]();
}

async function startServer(file: string): Promise<ChildProcess> {
  const child = fork(new URL("./server-process.ts", import.meta.url), [file], { execArgv: [] });
  await new Promise<void>((resolve, reject) => {
    child.once("message", () => resolve());
    child.once("exit", (code) => reject(new Error(`the server ended with ${code}`)));
  });
  child.removeAllListeners("exit");
  return child;
}

function once(child: ChildProcess, event: "exit"): Promise<unknown> {
  return child.exitCode !== null || child.signalCode !== null
    ? Promise.resolve()
    : new Promise((resolve) => child.once(event, resolve));
}

async function register(baseUrl: string, username: string): Promise<string> {
  const { body } = await send({ baseUrl }, "POST", "/_matrix/client/v3/register", {
    username,
    password: "correct horse battery",
    auth: { type: "m.login.dummy" },
  });
  return String(body["access_token"]);
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === "string") throw new Error("no port");
  return address.port;
}

/** A small generator of numbers in [0, 1) from a seed. */
function mulberry32(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}
