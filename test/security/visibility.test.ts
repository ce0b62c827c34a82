/** Who may see what, over HTTP: the cases of `docs/security-cases.md` about leaks. */
import assert from "node:assert/strict";
import { after, before, suite, test } from "node:test";
import { startServer, type TestServer } from "../fixtures/homeserver.ts";
import { at, objectsAt, textAt } from "../fixtures/json.ts";
import { roomPath, type TestUser } from "../fixtures/test-user.ts";

const V3 = "/_matrix/client/v3";
/** Stands in everything that its reader must not see. */
const SECRET = "not-for-your-eyes";

let server: TestServer;
let alice: TestUser;
let bob: TestUser;
let carol: TestUser;
before(async () => {
  server = await startServer();
  alice = await server.register("alice");
  bob = await server.register("bob");
  carol = await server.register("carol");
});
after(() => server[Symbol.asyncDispose]());

/** The paths that show an event or what stands around it. */
function readsOf(roomId: string, eventId: string): string[] {
  const relations = ["/_matrix/client/v1/rooms", encodeURIComponent(roomId), "relations"].join("/");
  const event = encodeURIComponent(eventId);
  return [
    roomPath(roomId, "event", eventId),
    `${roomPath(roomId, "context", eventId)}?limit=100`,
    `${relations}/${event}`,
    `${relations}/${event}?recurse=true`,
    `${relations}/${event}/m.replace`,
    `${relations}/${event}/m.thread/m.room.message`,
  ];
}

/** The paths that list events of a room. */
function listsOf(roomId: string): string[] {
  const threads = `/_matrix/client/v1/rooms/${encodeURIComponent(roomId)}/threads`;
  return [
    `${roomPath(roomId, "messages")}?dir=b&limit=1000`,
    `${roomPath(roomId, "messages")}?dir=f&limit=1000`,
    threads,
    `${threads}?include=participated`,
  ];
}

const SYNCS = [
  `${V3}/sync`,
  `${V3}/sync?full_state=true`,
  `${V3}/sync?filter=${encodeURIComponent(
    JSON.stringify({ room: { include_leave: true, timeline: { limit: 1000 } } }),
  )}`,
  `${V3}/notifications`,
];

async function assertHidden(user: TestUser, path: string): Promise<void> {
  const { status, body } = await user.request("GET", path);
  assert.ok(status === 403 || status === 404, `${path}: ${status}`);
  assert.match(textAt(body, "errcode"), /^M_(FORBIDDEN|NOT_FOUND)$/, path);
}

async function assertSilent(user: TestUser, path: string): Promise<void> {
  const { status, bytes } = await user.request("GET", path);
  assert.ok(status < 500, `${path}: ${status}`);
  assert.ok(!bytes.includes(SECRET), `${path}: ${bytes.toString().slice(0, 2000)}`);
}

async function assertTold(user: TestUser, path: string): Promise<void> {
  const { bytes } = await user.request("GET", path);
  assert.ok(bytes.includes(SECRET), `${path}: ${bytes.toString().slice(0, 500)}`);
}

function historyRoom(history_visibility: string): Promise<string> {
  const content = { history_visibility };
  const initial_state = [{ type: "m.room.history_visibility", state_key: "", content }];
  return alice.createRoom({ preset: "public_chat", initial_state });
}

function edit(eventId: string, body: string) {
  return {
    msgtype: "m.text",
    body: `* ${body}`,
    "m.new_content": { msgtype: "m.text", body },
    "m.relates_to": { rel_type: "m.replace", event_id: eventId },
  };
}

function reply(root: string, body: string) {
  const relation = { rel_type: "m.thread", event_id: root };
  return { msgtype: "m.text", body, "m.relates_to": relation };
}

suite("V086: history rules hold on every read", () => {
  for (const rule of ["joined", "invited"]) {
    test(`V086: from before the join under \`${rule}\``, async () => {
      const roomId = await historyRoom(rule);
      const topic = await alice.sendState(roomId, "m.room.topic", { topic: SECRET });
      const root = await alice.send(roomId, SECRET);
      const inThread = await alice.send(roomId, reply(root, SECRET));
      await alice.sendState(roomId, "m.room.topic", { topic: "for all" });
      await bob.join(roomId);
      const later = await alice.send(roomId, reply(root, "welcome"));
      for (const eventId of [topic, root, inThread]) {
        for (const path of readsOf(roomId, eventId)) {
          await assertHidden(bob, path);
          await assertSilent(bob, path);
        }
      }
      await assertTold(alice, roomPath(roomId, "event", root));
      const around = [...readsOf(roomId, later), ...listsOf(roomId), ...SYNCS];
      for (const path of around) await assertSilent(bob, path);
      const { status } = await bob.request("GET", roomPath(roomId, "event", later));
      assert.equal(status, 200);
    });
  }

  test("V086: a topic that its reader never saw is not shown as the previous content", async () => {
    const roomId = await historyRoom("joined");
    await alice.sendState(roomId, "m.room.topic", { topic: SECRET });
    await bob.join(roomId);
    const after = await alice.sendState(roomId, "m.room.topic", { topic: "for all" });
    const seen = await bob.call("GET", roomPath(roomId, "event", after));
    assert.equal(at(seen, "content", "topic"), "for all");
    for (const path of [roomPath(roomId, "event", after), ...listsOf(roomId), ...SYNCS]) {
      await assertSilent(bob, path);
    }
    await assertTold(alice, roomPath(roomId, "event", after));
  });

  test("V086: who is not in a private room reads nothing of it on any path", async () => {
    const roomId = await alice.createRoom({ name: SECRET, topic: SECRET });
    const eventId = await alice.send(roomId, SECRET);
    const paths = [
      ...readsOf(roomId, eventId),
      ...listsOf(roomId),
      roomPath(roomId, "state"),
      roomPath(roomId, "state", "m.room.name"),
      roomPath(roomId, "state", "m.room.create", ""),
      roomPath(roomId, "state", "m.room.member", alice.userId),
      roomPath(roomId, "members"),
      roomPath(roomId, "joined_members"),
      roomPath(roomId, "aliases"),
    ];
    for (const path of paths) await assertHidden(carol, path);
    for (const path of [...paths, ...SYNCS]) await assertSilent(carol, path);
    await assertTold(alice, roomPath(roomId, "state"));
  });

  test("V086: who is not in a private room writes nothing into it on any path", async () => {
    const roomId = await alice.createRoom({});
    const eventId = await alice.send(roomId, "hello");
    const requests: [string, string, object][] = [
      ["PUT", roomPath(roomId, "send", "m.room.message", "t"), { msgtype: "m.text", body: "x" }],
      ["PUT", roomPath(roomId, "redact", eventId, "t"), {}],
      ["PUT", roomPath(roomId, "state", "m.room.topic", ""), { topic: "x" }],
      ["PUT", roomPath(roomId, "typing", carol.userId), { typing: true, timeout: 1000 }],
      ["POST", roomPath(roomId, "receipt", "m.read", eventId), {}],
      ["POST", roomPath(roomId, "invite"), { user_id: bob.userId }],
      ["POST", roomPath(roomId, "kick"), { user_id: alice.userId }],
      ["POST", roomPath(roomId, "join"), {}],
      ["POST", roomPath(roomId, "leave"), {}],
    ];
    const events = `${roomPath(roomId, "messages")}?dir=f&limit=1000`;
    const before = objectsAt(await alice.call("GET", events), "chunk").length;
    for (const [method, path, body] of requests) {
      const { status } = await carol.request(method, path, body);
      assert.ok(status === 403 || status === 404, `${method} ${path}: ${status}`);
    }
    const chunk = objectsAt(await alice.call("GET", events), "chunk");
    assert.equal(chunk.length, before);
  });
});

suite("V088: the event that is returned is one of the room that was asked for", () => {
  test("V088: an event of another room is not found, on reads and writes", async () => {
    const mine = await bob.createRoom({});
    const other = await alice.createRoom({});
    const shared = await alice.createRoom({ preset: "public_chat" });
    await bob.join(shared);
    for (const elsewhere of [other, shared]) {
      const eventId = await alice.send(elsewhere, SECRET);
      await alice.send(elsewhere, edit(eventId, SECRET));
      for (const path of readsOf(mine, eventId)) {
        const { status, body, bytes } = await bob.request("GET", path);
        assert.equal(status, 404, path);
        assert.equal(body["errcode"], "M_NOT_FOUND", path);
        assert.ok(!bytes.includes(SECRET), path);
      }
      const redaction = await bob.request("PUT", roomPath(mine, "redact", eventId, "r"), {});
      assert.equal(redaction.status, 404);
      const receipt = await bob.request("POST", roomPath(mine, "receipt", "m.read", eventId), {});
      assert.ok(receipt.status === 404 || receipt.status === 400, String(receipt.status));
      const whole = await alice.call("GET", roomPath(elsewhere, "event", eventId));
      assert.equal(at(whole, "unsigned", "redacted_because"), undefined);
    }
  });

  test("V088: an event of another room does not count as a relation", async () => {
    const mine = await bob.createRoom({});
    const target = await alice.createRoom({ preset: "public_chat" });
    await bob.join(target);
    const root = await bob.send(target, "root");
    await bob.send(mine, edit(root, SECRET));
    await bob.send(mine, reply(root, SECRET));
    for (const path of [...readsOf(target, root), ...listsOf(target)]) {
      await assertSilent(alice, path);
    }
    const event = await bob.call("GET", roomPath(target, "event", root));
    assert.equal(at(event, "unsigned", "m.relations"), undefined);
  });

  test("V088: a token from one room opens no other", async () => {
    const other = await alice.createRoom({});
    await alice.send(other, SECRET);
    const page = await alice.call("GET", `${roomPath(other, "messages")}?dir=b&limit=1`);
    const from = encodeURIComponent(textAt(page, "start"));
    const mine = await bob.createRoom({});
    await bob.send(mine, "mine");
    for (const dir of ["b", "f"]) {
      await assertSilent(bob, `${roomPath(mine, "messages")}?dir=${dir}&limit=1000&from=${from}`);
    }
    await assertHidden(bob, `${roomPath(other, "messages")}?dir=b&from=${from}`);
  });
});

suite("V092: what happens after a leave is not for who left", () => {
  for (const change of ["kick", "ban"]) {
    test(`V092: after a ${change}, on every read and for a client that waits`, async () => {
      const watcher = await server.register(`watcher-${change}`);
      const roomId = await alice.createRoom({ preset: "public_chat", topic: "before" });
      await watcher.join(roomId);
      const known = await alice.send(roomId, "before");
      const { next_batch: since } = await watcher.sync();
      await alice.call("POST", roomPath(roomId, change), { user_id: watcher.userId });
      const waiting = await watcher.sync({ timeout: "10000" });
      assert.ok(at(waiting, "rooms", "leave", roomId) !== undefined);
      const open = watcher.sync({ timeout: "1000" });
      const later = await alice.send(roomId, SECRET);
      await alice.send(roomId, edit(known, SECRET));
      await alice.send(roomId, reply(known, SECRET));
      await alice.sendState(roomId, "m.room.topic", { topic: SECRET });
      await bob.call("PUT", `${V3}/profile/${bob.userId}/displayname`, { displayname: SECRET });
      await bob.join(roomId);
      assert.equal(at(await open, "rooms", "leave", roomId), undefined);
      for (const path of readsOf(roomId, later)) await assertHidden(watcher, path);
      const from = encodeURIComponent(String(since));
      const paths = [
        ...readsOf(roomId, known),
        ...listsOf(roomId),
        ...SYNCS,
        `${V3}/sync?since=${from}`,
        `${V3}/sync?since=${from}&full_state=true`,
        roomPath(roomId, "state"),
        roomPath(roomId, "state", "m.room.topic", ""),
        roomPath(roomId, "members"),
        roomPath(roomId, "joined_members"),
      ];
      for (const path of paths) await assertSilent(watcher, path);
      await assertTold(alice, roomPath(roomId, "state"));
      await bob.call("PUT", `${V3}/profile/${bob.userId}/displayname`, { displayname: "Bob" });
    });
  }
});

suite("V094: what is hidden is left out before limits and in bundles", () => {
  test("V094: pages are full though ignored senders wrote most of the room", async () => {
    const reader = await server.register("reader");
    const roomId = await alice.createRoom({ preset: "public_chat" });
    await Promise.all([bob.join(roomId), reader.join(roomId)]);
    const root = await alice.send(roomId, "root");
    for (let i = 0; i < 10; i += 1) {
      await alice.send(roomId, reply(root, `reply ${i}`));
      for (let j = 0; j < 3; j += 1) await bob.send(roomId, reply(root, SECRET));
    }
    await ignore(reader, bob);
    const messages = await reader.call("GET", `${roomPath(roomId, "messages")}?dir=b&limit=10`);
    assert.equal(objectsAt(messages, "chunk").length, 10);
    const relations = `/_matrix/client/v1/rooms/${encodeURIComponent(roomId)}/relations`;
    const ofRoot = `${relations}/${encodeURIComponent(root)}`;
    const first = await reader.call("GET", `${ofRoot}?limit=6`);
    const from = encodeURIComponent(textAt(first, "next_batch"));
    const second = await reader.call("GET", `${ofRoot}?limit=6&from=${from}`);
    assert.equal(objectsAt(first, "chunk").length, 6);
    assert.equal(objectsAt(second, "chunk").length, 4);
    const context = await reader.call("GET", `${roomPath(roomId, "context", root)}?limit=10`);
    assert.equal(objectsAt(context, "events_after").length, 5);
    for (const path of [...readsOf(roomId, root), ...listsOf(roomId), ...SYNCS]) {
      await assertSilent(reader, path);
    }
  });

  test("V094: hidden relations fill no page, however many there are", async () => {
    const reader = await server.register("patient");
    const noisy = await server.register("noisy");
    const roomId = await alice.createRoom({ preset: "public_chat" });
    await Promise.all([noisy.join(roomId), reader.join(roomId)]);
    const root = await alice.send(roomId, "root");
    const wanted = await alice.send(roomId, reply(root, "wanted"));
    await Promise.all(Array.from({ length: 1010 }, () => noisy.send(roomId, reply(root, SECRET))));
    await ignore(reader, noisy);
    const relations = `/_matrix/client/v1/rooms/${encodeURIComponent(roomId)}/relations`;
    const page = await reader.call("GET", `${relations}/${encodeURIComponent(root)}`);
    assert.deepEqual(
      objectsAt(page, "chunk").map((event) => event["event_id"]),
      [wanted],
    );
  });

  test("V094: bundles hold nothing of ignored senders, nor of events that are hidden", async () => {
    const reader = await server.register("newcomer");
    const roomId = await historyRoom("shared");
    const original = await alice.send(roomId, "original");
    await bob.join(roomId);
    await bob.send(roomId, reply(original, SECRET));
    await alice.sendState(roomId, "m.room.history_visibility", { history_visibility: "joined" });
    await alice.send(roomId, edit(original, SECRET));
    await reader.join(roomId);
    await ignore(reader, bob);
    const event = await reader.call("GET", roomPath(roomId, "event", original));
    assert.equal(at(event, "content", "body"), "original");
    assert.equal(at(event, "unsigned", "m.relations"), undefined);
    for (const path of [...readsOf(roomId, original), ...listsOf(roomId)]) {
      await assertSilent(reader, path);
    }
    const seen = await alice.call("GET", roomPath(roomId, "event", original));
    assert.deepEqual(Object.keys(at(seen, "unsigned", "m.relations") ?? {}).toSorted(), [
      "m.replace",
      "m.thread",
    ]);
  });
});

function ignore(user: TestUser, whom: TestUser) {
  const path = `${V3}/user/${user.userId}/account_data/m.ignored_user_list`;
  return user.call("PUT", path, { ignored_users: { [whom.userId]: {} } });
}

test("V098: a name for one room is told in that room only", async () => {
  const roomId = await alice.createRoom({});
  const member = { membership: "join", displayname: SECRET };
  await alice.sendState(roomId, "m.room.member", member, alice.userId);
  for (const path of [
    `${V3}/profile/${alice.userId}`,
    `${V3}/profile/${alice.userId}/displayname`,
  ]) {
    await assertSilent(carol, path);
  }
  await assertTold(alice, roomPath(roomId, "members"));
  const elsewhere = await alice.createRoom({ preset: "public_chat" });
  await carol.join(elsewhere);
  await assertSilent(carol, roomPath(elsewhere, "members"));
});

test("V103: nobody takes, moves or removes an alias without the power to", async () => {
  const alias = `#alices:${server.serverName}`;
  const path = `${V3}/directory/room/${encodeURIComponent(alias)}`;
  const roomId = await alice.createRoom({ room_alias_name: "alices", preset: "public_chat" });
  await bob.join(roomId);
  const mine = await bob.createRoom({});
  const status = async (method: string, at: string, body?: object): Promise<unknown[]> => {
    const answer = await bob.request(method, at, body);
    return [answer.status, answer.body["errcode"]];
  };
  assert.deepEqual(await status("DELETE", path), [403, "M_FORBIDDEN"]);
  assert.deepEqual(await status("PUT", path, { room_id: mine }), [409, "M_UNKNOWN"]);
  const creation = { room_alias_name: "alices" };
  assert.deepEqual(await status("POST", `${V3}/createRoom`, creation), [400, "M_ROOM_IN_USE"]);
  const canonical = roomPath(mine, "state", "m.room.canonical_alias", "");
  assert.deepEqual(await status("PUT", canonical, { alias }), [400, "M_BAD_ALIAS"]);
  const initial_state = [{ type: "m.room.canonical_alias", content: { alias } }];
  const stolen = await status("POST", `${V3}/createRoom`, { initial_state });
  assert.deepEqual(stolen, [400, "M_BAD_ALIAS"]);
  const foreign = `${V3}/directory/room/${encodeURIComponent("#alices:elsewhere.example")}`;
  const refusal = await bob.request("PUT", foreign, { room_id: mine });
  assert.ok(refusal.status === 400 || refusal.status === 403, String(refusal.status));
  assert.equal((await bob.call("GET", path))["room_id"], roomId);
  assert.equal((await alice.request("DELETE", path)).status, 200);
  assert.equal((await alice.request("GET", path)).status, 404);
});
