/** An incremental sync of a user in 3,000 rooms against that of a user in 10. */
import { Client, median, table } from "./load.ts";
import { register, start, type User } from "./processes.ts";

const MANY = 3000;
const FEW = 10;
/** The most that the many rooms may cost. */
const CLAIM = 1.2;

export async function sync({ seconds }: { seconds: number }): Promise<boolean> {
  await using gomin = await start("gomin");
  const many = await register(gomin.baseUrl, "many");
  const few = await register(gomin.baseUrl, "few");
  const talker = await register(gomin.baseUrl, "talker");
  const rooms = await makeRooms(talker, MANY);
  await join(many, rooms);
  await join(few, rooms.slice(0, FEW));
  using talking = new Client(talker, 1);
  const readers = [many, few].map((user) => ({
    client: new Client(user, 1),
    since: "",
    times: [] as number[],
  }));
  for (const reader of readers) {
    const first = await reader.client.json<{ next_batch: string }>(
      "GET",
      "/_matrix/client/v3/sync?timeout=0",
    );
    reader.since = first.next_batch;
  }
  const until = performance.now() + seconds * 2000;
  for (let i = 0; performance.now() < until; i += 1) {
    const room = rooms[i % FEW] ?? "";
    await talking.json(
      "PUT",
      `/_matrix/client/v3/rooms/${encodeURIComponent(room)}/send/m.room.message/sync${i}`,
      { msgtype: "m.text", body: "news" },
    );
    for (const reader of i % 2 === 0 ? readers : readers.toReversed()) {
      const from = performance.now();
      const answer = await reader.client.json<{ next_batch: string; rooms?: { join?: object } }>(
        "GET",
        `/_matrix/client/v3/sync?timeout=0&since=${reader.since}`,
      );
      reader.times.push(performance.now() - from);
      if (Object.keys(answer.rooms?.join ?? {}).length !== 1)
        throw new Error("the news is missing");
      reader.since = answer.next_batch;
    }
  }
  const [ofMany = NaN, ofFew = NaN] = readers.map(({ times }) => median(times));
  for (const { client } of readers) client[Symbol.dispose]();
  const ratio = ofMany / ofFew;
  console.log(`an incremental sync with one new message, ${readers[0]?.times.length} times`);
  table([
    { rooms: MANY, "median ms": ofMany },
    { rooms: FEW, "median ms": ofFew },
  ]);
  console.log(`ratio ${ratio.toFixed(2)}, claimed at most ${CLAIM}`);
  return ratio <= CLAIM;
}

async function makeRooms(user: User, count: number): Promise<string[]> {
  using client = new Client(user, 32);
  const rooms: string[] = [];
  while (rooms.length < count) {
    const made = await Promise.all(
      Array.from({ length: 32 }, () =>
        client.json<{ room_id: string }>("POST", "/_matrix/client/v3/createRoom", {
          preset: "public_chat",
        }),
      ),
    );
    rooms.push(...made.map(({ room_id }) => room_id));
  }
  return rooms.slice(0, count);
}

async function join(user: User, rooms: readonly string[]): Promise<void> {
  using client = new Client(user, 32);
  for (let i = 0; i < rooms.length; i += 32) {
    await Promise.all(
      rooms
        .slice(i, i + 32)
        .map((room) =>
          client.json("POST", `/_matrix/client/v3/join/${encodeURIComponent(room)}`, {}),
        ),
    );
  }
}
