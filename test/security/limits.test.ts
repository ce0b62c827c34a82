/** What costs too much, comes too often or at once: the cases of `docs/security-cases.md` about load and races. */
import assert from "node:assert/strict";
import { after, before, suite, test } from "node:test";
import { startServer, type TestServer } from "../fixtures/homeserver.ts";
import { at, objectsAt, textAt } from "../fixtures/json.ts";
import { roomPath, type TestUser } from "../fixtures/test-user.ts";

const V3 = "/_matrix/client/v3";
const MESSAGE = { msgtype: "m.text", body: "hello" };

let server: TestServer;
let alice: TestUser;
let bob: TestUser;
before(async () => {
  server = await startServer();
  alice = await server.register("alice");
  bob = await server.register("bob");
});
after(() => server[Symbol.asyncDispose]());

async function idOf(user: TestUser, path: string, body: unknown = MESSAGE): Promise<string> {
  return textAt(await user.call("PUT", path, body), "event_id");
}

test("V145: patterns made to be slow are not", async () => {
  const hostile = `${"*a".repeat(30)}*b`;
  const long = "a".repeat(60_000);
  const reader = await server.register("reader");
  const roomId = await alice.createRoom({ preset: "public_chat" });
  await reader.join(roomId);
  const rule = (kind: string, id: string) => `${V3}/pushrules/global/${kind}/${id}`;
  await reader.call("PUT", rule("content", "slow"), { actions: ["notify"], pattern: hostile });
  const condition = { kind: "event_match", key: "content.body", pattern: hostile };
  await reader.call("PUT", rule("override", "slow"), {
    actions: ["notify"],
    conditions: [condition],
  });
  await reader.sync();
  const acl = { allow: ["*"], deny: [hostile] };
  const filter = encodeURIComponent(
    JSON.stringify({ room: { timeline: { types: [hostile], not_types: [hostile] } } }),
  );
  const startedAt = performance.now();
  await alice.sendState(roomId, "m.room.server_acl", acl);
  const eventId = await alice.send(roomId, long);
  await alice.send(roomId, {}, `org.${"a".repeat(250)}`);
  await reader.waitForEvent(roomId, (event) => event["event_id"] === eventId);
  assert.equal((await reader.request("GET", `${V3}/sync?filter=${filter}`)).status, 200);
  const ms = performance.now() - startedAt;
  assert.ok(ms < 2000, `${ms} ms`);
});

suite("V155: tokens that are not ours", () => {
  const ODD = [
    "",
    "x",
    "-1",
    "0",
    "s1",
    "t",
    "t-1_-1",
    "t1_1_1",
    "s_0_0",
    "1234567890",
    "s1234_5678_90",
    "t9007199254740993_0",
    "AAAA",
    "%00",
    "%F0%9F%98%80",
    "__proto__",
    "t0_0%0A",
    "s99999999999_99999999999_0.0_0.0",
    "t1zzzzzzzzz_1",
  ];

  test("V155: are refused or answered with what is there, on every path that takes one", async () => {
    const secret = "other-room-words";
    const roomId = await alice.createRoom({ preset: "public_chat" });
    const eventId = await alice.send(roomId, "mine");
    const other = await bob.createRoom({});
    await bob.send(other, secret);
    const theirs = textAt(
      await bob.call("GET", `${roomPath(other, "messages")}?dir=b&limit=1`),
      "start",
    );
    const v1 = `/_matrix/client/v1/rooms/${encodeURIComponent(roomId)}`;
    const paths = [
      `${V3}/sync?timeout=0&since=`,
      `${roomPath(roomId, "messages")}?dir=b&from=`,
      `${roomPath(roomId, "messages")}?dir=f&from=`,
      `${roomPath(roomId, "messages")}?dir=f&to=`,
      `${roomPath(roomId, "members")}?at=`,
      `${v1}/relations/${encodeURIComponent(eventId)}?from=`,
      `${v1}/relations/${encodeURIComponent(eventId)}?to=`,
      `${v1}/threads?from=`,
      `${V3}/notifications?from=`,
      `${V3}/keys/changes?to=s0&from=`,
      `${V3}/keys/changes?from=s0&to=`,
    ];
    const { next_batch } = await bob.call("GET", `${V3}/sync`);
    for (const path of paths) {
      for (const token of [...ODD, encodeURIComponent(theirs), String(next_batch)]) {
        const { status, body, bytes } = await alice.request("GET", path + token);
        const told = `${path}${token}: ${status}`;
        assert.ok(status === 200 || status === 400, told);
        if (status === 400) {
          assert.match(textAt(body, "errcode"), /^M_(INVALID|MISSING)_PARAM$/, told);
        }
        assert.ok(!bytes.includes(secret), told);
      }
    }
    for (const token of ["x", "-1", "AAAA", "__proto__"]) {
      for (const path of paths.slice(0, 4)) {
        assert.equal((await alice.request("GET", path + token)).status, 400, path + token);
      }
    }
  });
});

test("V154: no malformed ID in any part of any path fails the server", async () => {
  const ids = [
    "@",
    "!",
    "$",
    "%23",
    "@a",
    "@a:",
    "@:b",
    "!a:b:c:d",
    "$%00",
    "@%00:localhost",
    "%ED%A0%80",
    `!${"x".repeat(300)}`,
    "%23a:[::1",
    "..%2f..%2fx",
    "__proto__",
    "%F0%9F%98%80",
  ];
  const failures: string[] = [];
  const user = await server.register("malformer");
  for (const { method, path, access } of server.routes) {
    if (access === "user-even-locked") continue;
    const parts = path.split("/");
    const names = parts.filter((part) => part.startsWith(":") || part.startsWith("*"));
    for (const name of names) {
      await Promise.all(
        ids.map(async (id) => {
          const target = parts.map((part) => (part === name ? id : fill(part))).join("/");
          const body = method === "GET" ? undefined : {};
          const { status } = await user.request(method, target, body);
          if (status >= 500) failures.push(`${method} ${target}: ${status}`);
        }),
      );
    }
  }
  assert.deepEqual(failures, []);
  await user.createRoom({});

  function fill(part: string): string {
    if (!part.startsWith(":")) return part;
    if (part === ":userId") return encodeURIComponent(user.userId);
    if (part === ":roomId") return encodeURIComponent(`!x:${server.serverName}`);
    if (part === ":eventId") return `$${"A".repeat(43)}`;
    return "x";
  }
});

suite("races", () => {
  test("V157: what is made at once in many requests is one", async () => {
    const roomId = await alice.createRoom({ preset: "public_chat" });
    const made = await Promise.all(
      Array.from({ length: 64 }, (_, i) => {
        const path = roomPath(roomId, "state", "org.example.new", "new key");
        return alice.request("PUT", path, { n: i });
      }),
    );
    assert.ok(made.every(({ status }) => status === 200));
    assert.equal(new Set(made.map(({ body }) => body["event_id"])).size, 64);
    const last = await alice.call("GET", `${roomPath(roomId, "messages")}?dir=b&limit=1`);
    const now = await alice.call("GET", roomPath(roomId, "state", "org.example.new", "new key"));
    assert.deepEqual(now, at(objectsAt(last, "chunk")[0], "content"));
    const { rows } = await server.database.pool.query<{ count: number }>(
      "select count(*)::int from state_keys where type = 'org.example.new'",
    );
    assert.equal(rows[0]?.count, 1);
    const alias = `#race:${server.serverName}`;
    const path = `${V3}/directory/room/${encodeURIComponent(alias)}`;
    const aliases = await Promise.all(
      Array.from({ length: 32 }, () => alice.request("PUT", path, { room_id: roomId })),
    );
    const won = aliases.filter(({ status }) => status === 200);
    assert.equal(won.length, 1);
    assert.ok(aliases.every(({ status }) => status === 200 || status === 409));
  });

  test("V160: an invite that races the last leave is refused or there", async () => {
    for (let round = 0; round < 40; round += 1) {
      const roomId = await alice.createRoom({});
      const [invited, left] = await Promise.all([
        alice.request("POST", roomPath(roomId, "invite"), { user_id: bob.userId }),
        alice.request("POST", roomPath(roomId, "leave"), {}),
      ]);
      assert.equal(left.status, 200);
      assert.ok(invited.status === 200 || invited.status === 403, String(invited.status));
      const shown = at(await bob.sync(), "rooms", "invite", roomId) !== undefined;
      assert.equal(shown, invited.status === 200, `round ${round}`);
      if (shown) await bob.leave(roomId);
    }
  });

  test("V160: joins, leaves and sends at once end in one truth", async () => {
    const roomId = await alice.createRoom({ preset: "public_chat" });
    for (let round = 0; round < 30; round += 1) {
      const answers = await Promise.all([
        bob.request("POST", roomPath(roomId, "join"), {}),
        bob.request("PUT", roomPath(roomId, "send", "m.room.message", `r${round}`), MESSAGE),
        bob.request("POST", roomPath(roomId, "leave"), {}),
        alice.request("PUT", roomPath(roomId, "send", "m.room.message", `r${round}`), MESSAGE),
      ]);
      assert.ok(answers.every(({ status }) => status === 200 || status === 403));
      assert.equal(answers[3]?.status, 200);
      const path = roomPath(roomId, "state", "m.room.member", bob.userId);
      const state = (await alice.request("GET", path)).body["membership"] ?? "leave";
      const { joined_rooms: rooms } = await bob.call("GET", `${V3}/joined_rooms`);
      assert.ok(Array.isArray(rooms));
      assert.equal(rooms.includes(roomId), state === "join", `round ${round}`);
      const members = await alice.call("GET", roomPath(roomId, "joined_members"));
      assert.equal(at(members, "joined", bob.userId) !== undefined, state === "join");
      const synced = at(await bob.sync({ full_state: "true" }), "rooms", "join", roomId);
      assert.equal(synced !== undefined, state === "join");
    }
  });
});

suite("V169: a transaction ID", () => {
  test("V169: gives the same event on a retry, also with a refreshed token", async () => {
    const body = {
      type: "m.login.password",
      identifier: { type: "m.id.user", user: alice.userId },
      password: alice.password,
      refresh_token: true,
    };
    const login = await server.http.send({ method: "POST", path: `${V3}/login`, body });
    const roomId = await alice.createRoom({});
    const path = roomPath(roomId, "send", "m.room.message", "again");
    const sendWith = async (token: string): Promise<string> => {
      const headers = { authorization: `Bearer ${token}` };
      const answer = await server.http.send({ method: "PUT", path, headers, body: MESSAGE });
      return textAt(answer.body, "event_id");
    };
    const first = await sendWith(textAt(login.body, "access_token"));
    assert.equal(await sendWith(textAt(login.body, "access_token")), first);
    const refreshed = await server.http.send({
      method: "POST",
      path: `${V3}/refresh`,
      body: { refresh_token: textAt(login.body, "refresh_token") },
    });
    assert.equal(await sendWith(textAt(refreshed.body, "access_token")), first);
    const parallel = roomPath(roomId, "send", "m.room.message", "at once");
    const ids = await Promise.all(Array.from({ length: 32 }, () => idOf(alice, parallel)));
    assert.equal(new Set(ids).size, 1);
  });

  test("V169: is another one in another room, type, device or endpoint", async () => {
    const roomId = await alice.createRoom({});
    const target = await alice.send(roomId, "target");
    const laptop = await server.login(alice);
    const ids = [
      await idOf(alice, roomPath(roomId, "send", "m.room.message", "t")),
      await idOf(alice, roomPath(roomId, "send", "org.example.x", "t")),
      await idOf(alice, roomPath(await alice.createRoom({}), "send", "m.room.message", "t")),
      await idOf(laptop, roomPath(roomId, "send", "m.room.message", "t")),
      await idOf(alice, roomPath(roomId, "redact", target, "t"), {}),
    ];
    assert.equal(new Set(ids).size, ids.length);
    const toDevice = { messages: { [bob.userId]: { [bob.deviceId]: { body: "once" } } } };
    await bob.sync();
    for (let i = 0; i < 3; i += 1) {
      await alice.call("PUT", `${V3}/sendToDevice/org.example.x/t`, toDevice);
    }
    const received = objectsAt(await bob.sync(), "to_device", "events");
    assert.equal(received.length, 1);
  });
});

test("V149: a receipt that is sent again wakes nobody", async () => {
  const roomId = await alice.createRoom({ preset: "public_chat" });
  await bob.join(roomId);
  const eventId = await alice.send(roomId, "read me");
  const path = roomPath(roomId, "receipt", "m.read", eventId);
  await bob.call("POST", path, {});
  await alice.sync();
  await alice.sync();
  const waiting = alice.sync({ timeout: "700" });
  for (let i = 0; i < 50; i += 1) await bob.call("POST", path, {});
  const answer = await waiting;
  assert.equal(at(answer, "rooms", "join", roomId, "ephemeral"), undefined);
});

test("V151: a profile is bounded, whatever it is filled with", async () => {
  const user = await server.register("profuse");
  const put = (field: string, value: string) =>
    user.request("PUT", `${V3}/profile/${user.userId}/${field}`, { [field]: value });
  const tooLong = await put(`org.${"x".repeat(252)}`, "x");
  assert.deepEqual([tooLong.status, tooLong.body["errcode"]], [400, "M_KEY_TOO_LARGE"]);
  let answer = await put("org.p0", "x".repeat(30_000));
  for (let i = 1; i < 4; i += 1) answer = await put(`org.p${i}`, "x".repeat(30_000));
  assert.deepEqual([answer.status, answer.body["errcode"]], [400, "M_PROFILE_TOO_LARGE"]);
  const { bytes } = await bob.request("GET", `${V3}/profile/${user.userId}`);
  assert.ok(bytes.length < 65_536, String(bytes.length));
});
