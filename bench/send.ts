/** Acknowledged sends per second, and how long a message takes to another client's long-poll. */
import { Client, median, percentile, rate, table } from "./load.ts";
import { type Measured, register, start, type User } from "./processes.ts";

const CONNECTIONS = [1, 16, 64, 256];
/** The least share of the yardstick at 64 connections. */
const CLAIM = 0.4;
const ROUNDS = 3;

export async function send({ seconds }: { seconds: number }): Promise<boolean> {
  await using gomin = await start("gomin");
  await using yardstick = await start("yardstick");
  const user = await register(gomin.baseUrl, "bench");
  const rooms = await makeRooms(user, 64);
  let holds = true;
  const rows = [];
  for (const [title, used] of [
    ["64 rooms", rooms],
    ["1 room", rooms.slice(0, 1)],
  ] as const) {
    for (const connections of CONNECTIONS) {
      const ours: number[] = [];
      const bare: number[] = [];
      for (let round = 0; round < ROUNDS; round += 1) {
        bare.push(await measure(yardstick, undefined, used, connections, seconds));
        ours.push(await measure(gomin, user, used, connections, seconds));
      }
      const ratio = median(ours.map((value, i) => value / (bare[i] ?? NaN)));
      if (connections === 64 && ratio < CLAIM) holds = false;
      rows.push({
        rooms: title,
        connections,
        "gomin/s": median(ours),
        "yardstick/s": median(bare),
        ratio,
      });
    }
  }
  console.log(`acknowledged sends, median of ${ROUNDS} rounds of ${seconds} s, in turn`);
  table(rows);
  await latency(gomin, user, rooms[0] ?? "", seconds);
  return (await fanOut(gomin, seconds)) && holds;
}

let run = 0;

async function measure(
  { baseUrl }: Measured,
  user: User | undefined,
  rooms: readonly string[],
  connections: number,
  seconds: number,
): Promise<number> {
  using client = new Client(user ?? { baseUrl }, connections);
  run += 1;
  const id = run;
  return await rate(connections, seconds, async (lane, i) => {
    const room = rooms[(lane * 7 + i) % rooms.length] ?? "";
    const path = `/_matrix/client/v3/rooms/${encodeURIComponent(room)}/send/m.room.message/${id}-${lane}-${i}`;
    const { status } = await client.send("PUT", path, { msgtype: "m.text", body: `message ${i}` });
    if (status !== 200) throw new Error(`${path}: ${status}`);
  });
}

async function makeRooms(user: User, count: number): Promise<string[]> {
  using client = new Client(user, 8);
  const rooms: string[] = [];
  for (let i = 0; i < count; i += 1) {
    const made = await client.json<{ room_id: string }>("POST", "/_matrix/client/v3/createRoom", {
      preset: "public_chat",
    });
    rooms.push(made.room_id);
  }
  return rooms;
}

/** From the request to the answer of another user's long-poll. */
async function latency(
  { baseUrl }: Measured,
  user: User,
  room: string,
  seconds: number,
): Promise<void> {
  const reader = await register(baseUrl, "reader");
  using sending = new Client(user, 1);
  using reading = new Client(reader, 1);
  await reading.json("POST", `/_matrix/client/v3/join/${encodeURIComponent(room)}`, {});
  let { next_batch: since } = await reading.json<{ next_batch: string }>(
    "GET",
    "/_matrix/client/v3/sync?timeout=0",
  );
  const times: number[] = [];
  const until = performance.now() + seconds * 1000;
  for (let i = 0; performance.now() < until; i += 1) {
    const polled = reading.send("GET", `/_matrix/client/v3/sync?timeout=30000&since=${since}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
    const from = performance.now();
    await sending.send(
      "PUT",
      `/_matrix/client/v3/rooms/${encodeURIComponent(room)}/send/m.room.message/latency${i}`,
      { msgtype: "m.text", body: "now" },
    );
    const { body } = await polled;
    times.push(performance.now() - from);
    since = (JSON.parse(body.toString()) as { next_batch: string }).next_batch;
  }
  console.log(
    `\nsend to the other client's long-poll, over ${times.length} messages: p50 ${median(times).toFixed(1)} ms, p99 ${percentile(times, 0.99).toFixed(1)} ms`,
  );
}

/** The sender's acknowledgement in a room of many local members, against a room of two. */
async function fanOut({ baseUrl }: Measured, seconds: number): Promise<boolean> {
  const MEMBERS = 5000;
  const owner = await register(baseUrl, "owner");
  const [small = "", large = ""] = await makeRooms(owner, 2);
  const crowd: User[] = [];
  for (let i = 0; i < MEMBERS; i += 50) {
    const made = await Promise.all(
      Array.from({ length: 50 }, (_, j) => register(baseUrl, `member${i + j}`)),
    );
    await Promise.all(
      made.map(async (user) => {
        using client = new Client(user, 1);
        await client.json("POST", `/_matrix/client/v3/join/${encodeURIComponent(large)}`, {});
      }),
    );
    crowd.push(...made);
  }
  using client = new Client(owner, 1);
  const times: Record<string, number[]> = { [small]: [], [large]: [] };
  const until = performance.now() + seconds * 2000;
  for (let i = 0; performance.now() < until; i += 1) {
    for (const room of [small, large]) {
      const from = performance.now();
      await client.send(
        "PUT",
        `/_matrix/client/v3/rooms/${encodeURIComponent(room)}/send/m.room.message/fan${i}`,
        { msgtype: "m.text", body: "to all" },
      );
      times[room]?.push(performance.now() - from);
    }
  }
  const ofSmall = median(times[small] ?? []);
  const ofLarge = median(times[large] ?? []);
  const ratio = ofLarge / ofSmall;
  console.log(
    `\nacknowledgement in a room of ${crowd.length} local members: ${ofLarge.toFixed(2)} ms, of one: ${ofSmall.toFixed(2)} ms, ratio ${ratio.toFixed(2)}`,
  );
  return ratio < 1.5;
}
