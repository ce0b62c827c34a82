/** What events may be, and what becomes of them: the cases of `docs/security-cases.md` about their format. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { after, before, suite, test } from "node:test";
import { isObject, type JsonObject } from "../../spec/shape.ts";
import type { HttpResponse } from "../fixtures/http-client.ts";
import { startServer, type TestServer } from "../fixtures/homeserver.ts";
import { at, objectsAt, textAt } from "../fixtures/json.ts";
import { roomPath, type TestUser } from "../fixtures/test-user.ts";

const V3 = "/_matrix/client/v3";
const MAX_PDU_BYTES = 65_536;

let server: TestServer;
let alice: TestUser;
let bob: TestUser;
let roomId: string;
let transactions = 0;
before(async () => {
  server = await startServer();
  alice = await server.register("alice");
  bob = await server.register("bob");
  roomId = await alice.createRoom({ preset: "public_chat" });
  await bob.join(roomId);
});
after(() => server[Symbol.asyncDispose]());

function newTransaction(): string {
  transactions += 1;
  return `security${transactions}`;
}

function sendPath(type = "m.room.message", room = roomId): string {
  return roomPath(room, "send", type, newTransaction());
}

/** Where a client's JSON becomes an event; each makes a body around the JSON of a content. */
const WAYS_IN: readonly [string, string, () => string, (content: string) => string][] = [
  ["send", "PUT", () => sendPath(), (content) => content],
  ["state", "PUT", () => roomPath(roomId, "state", "org.example.x", ""), (content) => content],
  [
    "member",
    "PUT",
    () => roomPath(roomId, "state", "m.room.member", alice.userId),
    (content) => `{"membership":"join","x":${content}}`,
  ],
  [
    "createRoom",
    "POST",
    () => `${V3}/createRoom`,
    (content) => `{"initial_state":[{"type":"org.example.x","content":${content}}]}`,
  ],
  [
    "creation_content",
    "POST",
    () => `${V3}/createRoom`,
    (content) => `{"creation_content":{"x":${content}}}`,
  ],
];

/** Sends the JSON text of a content on every way in. */
async function sendEverywhere(content: string | Buffer): Promise<[string, HttpResponse][]> {
  const answers: [string, HttpResponse][] = [];
  for (const [name, method, path, wrap] of WAYS_IN) {
    const [head = "", tail = ""] = wrap("\n").split("\n");
    const body = Buffer.concat([Buffer.from(head), Buffer.from(content), Buffer.from(tail)]);
    answers.push([name, await alice.request(method, path(), body)]);
  }
  return answers;
}

async function assertAlive(): Promise<void> {
  const eventId = await alice.send(roomId, "still here");
  await bob.waitForEvent(roomId, (event) => event["event_id"] === eventId);
}

suite("JSON that makes events", () => {
  test("V004: numbers that canonical JSON has not are refused on every way in", async () => {
    for (const number of ["1.5", "1.0", "1e2", "9007199254740992", "-9007199254740992", "-0"]) {
      for (const content of [`{"body":"x","n":${number}}`, `{"body":"x","n":[{"m":${number}}]}`]) {
        for (const [way, { status, body }] of await sendEverywhere(content)) {
          assert.deepEqual([status, body["errcode"]], [400, "M_BAD_JSON"], `${way}: ${content}`);
        }
      }
    }
    for (const number of ["9007199254740991", "-9007199254740991", "0"]) {
      for (const [way, { status }] of await sendEverywhere(`{"body":"x","n":${number}}`)) {
        assert.equal(status, 200, `${way}: ${number}`);
      }
    }
  });

  test("V005: keys sort by code point, and an escaped emoji is a raw one", async () => {
    const contents = [
      '{"body":"\\ud83d\\ude00","\\ufb01":1,"\\ud800\\udc00":2}',
      '{"\u{10000}":2,"\ufb01":1,"body":"\u{1f600}"}',
    ];
    const hashes = new Set<string>();
    for (const content of contents) {
      const { body } = await alice.request("PUT", sendPath(), content);
      const eventId = textAt(body, "event_id");
      const pdu = await storedPdu(eventId);
      const { signatures: _, unsigned: __, hashes: told, ...hashed } = pdu;
      assert.equal(textAt(told, "sha256"), sha256(referenceJson(hashed), "base64"));
      // What a redacted message of version 12 still has.
      const reference = { ...hashed, content: {}, hashes: told };
      assert.equal(eventId, `$${sha256(referenceJson(reference), "base64url")}`);
      hashes.add(referenceJson(pdu["content"]));
      const seen = await bob.call("GET", roomPath(roomId, "event", eventId));
      assert.deepEqual(seen["content"], { body: "😀", "\ufb01": 1, "\u{10000}": 2 });
    }
    assert.equal(hashes.size, 1);
  });

  test("V007: a key that stands twice is refused, however it is spelled", async () => {
    for (const content of [
      '{"body":"a","body":"b"}',
      '{"body":"a","\\u0062ody":"b"}',
      '{"a":{"b":[{"c":1,"c":1}]}}',
    ]) {
      for (const [way, { status, body }] of await sendEverywhere(content)) {
        assert.deepEqual([status, body["errcode"]], [400, "M_BAD_JSON"], `${way}: ${content}`);
      }
    }
  });

  test("V008: bytes that are no UTF-8 are refused on every way in", async () => {
    const bytes = Buffer.concat([
      Buffer.from('{"body":'),
      Buffer.from([0x22, 0xff, 0x22]),
      Buffer.from("}"),
    ]);
    const answers = await sendEverywhere(bytes);
    const elsewhere: [string, string][] = [
      ["PUT", `${V3}/user/${alice.userId}/account_data/org.example.x`],
      ["POST", `${V3}/user/${alice.userId}/filter`],
      ["PUT", `${V3}/sendToDevice/org.example.x/${newTransaction()}`],
      ["PUT", `${V3}/profile/${alice.userId}/displayname`],
      ["POST", `${V3}/keys/upload`],
      ["POST", `${V3}/login`],
      ["POST", `${V3}/register`],
    ];
    for (const [method, path] of elsewhere) {
      answers.push([path, await alice.request(method, path, bytes)]);
    }
    for (const [way, { status, body }] of answers) {
      assert.deepEqual([status, body["errcode"]], [400, "M_NOT_JSON"], way);
    }
  });

  test("V010: U+0000 passes through whatever is text for people", async () => {
    const text = "a\0b";
    const user = await server.register("nul");
    const room = await user.createRoom({ preset: "public_chat", name: text, topic: text });
    const eventId = await user.send(room, { msgtype: "m.text", body: text, "k\0": text });
    await user.call("PUT", `${V3}/profile/${user.userId}/displayname`, { displayname: text });
    await user.call("PUT", `${V3}/profile/${user.userId}/org.example.x`, { "org.example.x": text });
    const data = `${V3}/user/${user.userId}/account_data/org.example.x`;
    await user.call("PUT", data, { text });
    await user.sendState(room, "org.example.x", { text });
    const late = await server.register("late");
    await late.join(room);
    const event = await late.call("GET", roomPath(room, "event", eventId));
    assert.deepEqual(event["content"], { msgtype: "m.text", body: text, "k\0": text });
    const synced = await late.request("GET", `${V3}/sync`);
    assert.ok(synced.bytes.includes("a\\u0000b"));
    const state = objectsAt(
      { events: JSON.parse((await late.request("GET", roomPath(room, "state"))).bytes.toString()) },
      "events",
    );
    const contentOf = (type: string, stateKey: string) =>
      state.find((each) => each["type"] === type && each["state_key"] === stateKey)?.["content"];
    assert.equal(at(contentOf("m.room.name", ""), "name"), text);
    assert.equal(at(contentOf("m.room.topic", ""), "topic"), text);
    assert.equal(at(contentOf("m.room.member", user.userId), "displayname"), text);
    assert.deepEqual(contentOf("org.example.x", ""), { text });
    assert.deepEqual(await late.call("GET", `${V3}/profile/${user.userId}`), {
      displayname: text,
      "org.example.x": text,
    });
    assert.deepEqual(await user.call("GET", data), { text });
    for (const [method, path, body] of [
      ["PUT", roomPath(room, "state", "org.example.x", text), {}],
      ["PUT", roomPath(room, "send", text, newTransaction()), {}],
      ["PUT", `${V3}/devices/${user.deviceId}`, { display_name: text }],
      ["POST", `${V3}/createRoom`, { room_alias_name: text }],
    ] as const) {
      const { status } = await user.request(method, path, body);
      assert.equal(status, 400, `${method} ${path}: an identifier or a name of the server's`);
    }
  });

  test("V011: deep nesting is refused wherever JSON is read", async () => {
    const deep = "[".repeat(60 * 1024);
    const closed = `{"a":${"[".repeat(30_000)}${"]".repeat(30_000)}}`;
    const paths: [string, string][] = [
      ["PUT", sendPath()],
      ["PUT", roomPath(roomId, "state", "org.example.x", "")],
      ["POST", `${V3}/createRoom`],
      ["POST", `${V3}/user/${alice.userId}/filter`],
      ["PUT", `${V3}/user/${alice.userId}/account_data/org.example.x`],
      ["PUT", `${V3}/sendToDevice/org.example.x/${newTransaction()}`],
      ["POST", `${V3}/keys/upload`],
      ["POST", `${V3}/login`],
    ];
    for (const [method, path] of paths) {
      for (const body of [deep, closed]) {
        const answer = await alice.request(method, path, body);
        assert.equal(answer.status, 400, path);
        assert.match(textAt(answer.body, "errcode"), /^M_(BAD|NOT)_JSON$/);
      }
    }
    const filter = encodeURIComponent(`{"a":${"[".repeat(2000)}${"]".repeat(2000)}}`);
    for (const path of [
      `${V3}/sync?filter=${filter}`,
      `${roomPath(roomId, "messages")}?dir=b&filter=${filter}`,
    ]) {
      assert.equal((await alice.request("GET", path)).status, 400, path);
    }
    const nested = (levels: number) => `{"a":${"[".repeat(levels - 1)}${"]".repeat(levels - 1)}}`;
    assert.equal((await alice.request("PUT", sendPath(), nested(100))).status, 200);
    assert.equal((await alice.request("PUT", sendPath(), nested(101))).status, 400);
    await assertAlive();
  });
});

suite("the limits of an event", () => {
  test("V013: a PDU has 65,536 bytes with all that the server adds, and not one more", async () => {
    const room = await alice.createRoom({});
    const bodyOf = (length: number) => ({ msgtype: "m.text", body: "x".repeat(length) });
    const first = await alice.send(room, bodyOf(1000));
    const overhead = Buffer.byteLength(await storedJson(first)) - 1000;
    const largest = await alice.send(room, bodyOf(MAX_PDU_BYTES - overhead));
    assert.equal(Buffer.byteLength(await storedJson(largest)), MAX_PDU_BYTES);
    const tooLarge = bodyOf(MAX_PDU_BYTES - overhead + 1);
    const { status, body } = await alice.request("PUT", sendPath("m.room.message", room), tooLarge);
    assert.deepEqual([status, body["errcode"]], [413, "M_TOO_LARGE"]);
    const seen = await alice.call("GET", roomPath(room, "event", largest));
    assert.equal(textAt(seen, "content", "body").length, MAX_PDU_BYTES - overhead);
    await alice.send(room, "the room goes on");
  });

  test("V014: types and state keys are measured in bytes", async () => {
    const long = `org.${"é".repeat(127)}`;
    assert.ok(long.length < 255 && Buffer.byteLength(long) > 255);
    const initial = (event: object) => ({ initial_state: [{ content: {}, ...event }] });
    const requests: [string, string, object][] = [
      ["PUT", sendPath(long), {}],
      ["PUT", roomPath(roomId, "state", long, ""), {}],
      ["PUT", roomPath(roomId, "state", "org.example.x", long), {}],
      ["POST", `${V3}/createRoom`, initial({ type: long })],
      ["POST", `${V3}/createRoom`, initial({ type: "org.example.x", state_key: long })],
    ];
    for (const [method, path, body] of requests) {
      const { status } = await alice.request(method, path, body);
      assert.ok(status === 400 || status === 413, `${method} ${path}: ${status}`);
    }
    const longest = `org.${"é".repeat(125)}x`;
    assert.equal(Buffer.byteLength(longest), 255);
    await alice.sendState(roomId, longest, {}, longest);
    await assertAlive();
  });

  test("V022: a room of an unknown version is not made", async () => {
    for (const version of ["999", "", "12 ", 12, {}]) {
      const { status, body } = await alice.request("POST", `${V3}/createRoom`, {
        room_version: version,
      });
      const told = `${JSON.stringify(version)}: ${status} ${JSON.stringify(body)}`;
      assert.equal(status, 400, told);
      if (typeof version === "string") {
        assert.equal(body["errcode"], "M_UNSUPPORTED_ROOM_VERSION", told);
      }
    }
    assert.equal((await alice.request("GET", `${V3}/sync`)).status, 200);
  });

  test("V019, V166: nothing that a client says of creation makes the create event a lie", async () => {
    for (const room_version of ["10", "12"]) {
      const room = await alice.createRoom({
        room_version,
        creation_content: { creator: bob.userId, room_version: "1", room_id: roomId, x: 1 },
        initial_state: [{ type: "org.example.x", content: {} }],
      });
      const create = objectsAt(
        await alice.call("GET", `${roomPath(room, "messages")}?dir=f&limit=1`),
        "chunk",
      )[0];
      assert.equal(at(create, "type"), "m.room.create");
      assert.equal(at(create, "sender"), alice.userId);
      assert.equal(at(create, "content", "room_version"), room_version);
      assert.notEqual(at(create, "content", "creator"), bob.userId);
      assert.equal(at(create, "content", "x"), 1);
      await alice.send(room, "the room works");
      for (const [method, path] of [
        ["PUT", roomPath(room, "state", "m.room.create", "")],
        ["PUT", sendPath("m.room.create", room)],
      ] as const) {
        const { status } = await alice.request(method, path, { room_version: "1" });
        assert.ok(status === 400 || status === 403, `${method} ${path}: ${status}`);
      }
    }
    const again = {
      initial_state: [{ type: "m.room.create", content: { room_version: "1" } }],
    };
    const { status } = await alice.request("POST", `${V3}/createRoom`, again);
    assert.ok(status === 400 || status === 403, String(status));
    const odd = { creation_content: { predecessor: "x", type: 5, "m.federate": "no" } };
    const made = await alice.request("POST", `${V3}/createRoom`, odd);
    assert.ok(made.status < 500, String(made.status));
    assert.equal((await alice.request("GET", `${V3}/sync`)).status, 200);
  });
});

suite("power", () => {
  test("V016: odd levels are refused, and the room goes on", async () => {
    for (const room_version of ["9", "12"]) {
      const room = await alice.createRoom({ preset: "public_chat", room_version });
      const path = roomPath(room, "state", "m.room.power_levels", "");
      const levels = await alice.call("GET", path);
      for (const odd of ["9007199254740992", "1152921504606846976", "null", "[]", "{}", "true"]) {
        for (const place of [
          `"users_default":${odd}`,
          `"events":{"m.room.name":${odd}}`,
          `"users":{"${bob.userId}":${odd}}`,
        ]) {
          const body = `{"events_default":0,${place}}`;
          const answer = await alice.request("PUT", path, body);
          assert.ok([400, 403].includes(answer.status), `${room_version} ${body}`);
        }
        const creation = `{"power_level_content_override":{"users_default":${odd}}}`;
        const { status } = await alice.request("POST", `${V3}/createRoom`, creation);
        assert.ok([400, 403].includes(status), `${status} ${creation}`);
      }
      assert.deepEqual(await alice.call("GET", path), levels);
      for (const notifications of [{ room: null }, null]) {
        const { status } = await alice.request("PUT", path, { ...levels, notifications });
        assert.equal(status, 400, JSON.stringify(notifications));
      }
      await bob.join(room);
      await bob.send(room, "hello");
      assert.equal((await bob.request("GET", `${V3}/sync`)).status, 200);
    }
  });

  test("V017: events_default holds for those who have not the power", async () => {
    const room = await alice.createRoom({
      preset: "public_chat",
      power_level_content_override: { events_default: 50, events: { "org.example.free": 0 } },
    });
    await bob.join(room);
    for (const type of ["m.room.message", "m.reaction", "org.example.x"]) {
      const { status, body } = await bob.request("PUT", sendPath(type, room), { body: "x" });
      assert.deepEqual([status, body["errcode"]], [403, "M_FORBIDDEN"], type);
    }
    await bob.send(room, {}, "org.example.free");
    await alice.send(room, "I may");
  });
});

suite("redactions", () => {
  function redact(user: TestUser, room: string, eventId: string): Promise<HttpResponse> {
    return user.request("PUT", roomPath(room, "redact", eventId, newTransaction()), {});
  }

  test("V025: long chains of them are read as fast as anything", async () => {
    const room = await alice.createRoom({});
    const first = await alice.send(room, "first");
    let last = first;
    for (let i = 0; i < 200; i += 1)
      last = textAt((await redact(alice, room, last)).body, "event_id");
    const startedAt = performance.now();
    const page = await alice.request("GET", `${roomPath(room, "messages")}?dir=b&limit=1000`);
    const filter = encodeURIComponent('{"room":{"timeline":{"limit":1000}}}');
    const sync = await alice.request("GET", `${V3}/sync?filter=${filter}`);
    const ms = performance.now() - startedAt;
    assert.deepEqual([page.status, sync.status], [200, 200]);
    assert.ok(ms < 2000, `${ms} ms`);
    assert.ok(page.bytes.length < 1_000_000, `${page.bytes.length} bytes`);
    const seen = await alice.call("GET", roomPath(room, "event", first));
    assert.deepEqual(seen["content"], {});
    const unknown = `$${"A".repeat(43)}`;
    assert.equal((await redact(alice, room, unknown)).status, 404);
  });

  test("V026: of the create event and the ACL take nothing from the room", async () => {
    for (const room_version of ["10", "12"]) {
      const room = await alice.createRoom({
        preset: "public_chat",
        room_version,
        creation_content: { type: "m.space" },
      });
      const acl = { allow: ["*"], deny: ["evil.example"] };
      await alice.sendState(room, "m.room.server_acl", acl);
      const before = await alice.call("GET", `${roomPath(room, "messages")}?dir=f&limit=50`);
      const state = async () => [
        await alice.call("GET", roomPath(room, "state", "m.room.create", "")),
        await alice.call("GET", roomPath(room, "state", "m.room.server_acl", "")),
      ];
      const was = await state();
      for (const event of objectsAt(before, "chunk")) {
        if (["m.room.create", "m.room.server_acl"].includes(textAt(event, "type"))) {
          await redact(alice, room, textAt(event, "event_id"));
        }
      }
      assert.deepEqual(await state(), was, room_version);
      assert.equal(at(was, 0, "type"), "m.space");
      await bob.join(room);
      await bob.send(room, "hello");
    }
  });

  test("V028: after a redaction every read is pruned", async () => {
    const secret = "regretted-words";
    const room = await alice.createRoom({ preset: "public_chat" });
    await bob.join(room);
    const { next_batch: since } = await bob.sync();
    const relate = (rel_type: string, event_id: string, more: JsonObject = {}) => ({
      msgtype: "m.text",
      body: secret,
      "m.relates_to": { rel_type, event_id },
      ...more,
    });
    const root = await alice.send(room, "root");
    const message = await alice.send(room, `${secret} ${bob.userId}`);
    const edited = { "m.new_content": { msgtype: "m.text", body: secret } };
    const edit = await alice.send(room, relate("m.replace", root, edited));
    const reply = await alice.send(room, relate("m.thread", root));
    const editOfReply = await alice.send(room, relate("m.replace", reply, edited));
    const reference = await alice.send(room, relate("m.reference", root));
    const topic = await alice.sendState(room, "m.room.topic", { topic: secret });
    const name = await alice.sendState(room, "m.room.name", { name: secret });
    const later = await alice.sendState(room, "m.room.topic", { topic: "later" });
    const all = [message, edit, reply, editOfReply, reference, topic, name];
    const relations = `/_matrix/client/v1/rooms/${encodeURIComponent(room)}/relations`;
    const threads = `/_matrix/client/v1/rooms/${encodeURIComponent(room)}/threads`;
    const large = encodeURIComponent('{"room":{"timeline":{"limit":1000}}}');
    const reads = [
      ...[...all, root, later].flatMap((eventId) => [
        roomPath(room, "event", eventId),
        `${roomPath(room, "context", eventId)}?limit=100`,
        `${relations}/${encodeURIComponent(eventId)}?recurse=true`,
      ]),
      `${roomPath(room, "messages")}?dir=b&limit=1000`,
      threads,
      roomPath(room, "state"),
      roomPath(room, "state", "m.room.name", ""),
      `${V3}/sync`,
      `${V3}/sync?filter=${large}`,
      `${V3}/sync?full_state=true&since=${encodeURIComponent(String(since))}`,
      `${V3}/sync?since=${encodeURIComponent(String(since))}`,
      `${V3}/notifications`,
    ];
    const tellers = async (user: TestUser): Promise<string[]> => {
      const found: string[] = [];
      for (const path of reads) {
        const { bytes } = await user.request("GET", path);
        if (bytes.includes(secret)) found.push(path);
      }
      return found;
    };
    const before = await tellers(bob);
    for (const path of [
      roomPath(room, "event", root),
      threads,
      roomPath(room, "state"),
      roomPath(room, "event", later),
      `${V3}/sync`,
      `${V3}/notifications`,
    ]) {
      assert.ok(before.includes(path), `${path} shows nothing, so that there is nothing to prune`);
    }
    for (const eventId of all) assert.equal((await redact(alice, room, eventId)).status, 200);
    assert.deepEqual(await tellers(bob), []);
    assert.deepEqual(await tellers(alice), []);
    const parent = await bob.call("GET", roomPath(room, "event", root));
    assert.equal(at(parent, "unsigned", "m.relations"), undefined);
    assert.deepEqual(objectsAt(await bob.call("GET", threads), "chunk"), []);
    const seen = await bob.call("GET", roomPath(room, "event", message));
    assert.deepEqual(seen["content"], {});
    assert.equal(at(seen, "unsigned", "redacted_because", "type"), "m.room.redaction");
    const carol = await server.register("carol");
    await alice.invite(room, carol);
    const invited = await carol.request("GET", `${V3}/sync`);
    assert.ok(at(invited.body, "rooms", "invite", room) !== undefined);
    assert.ok(!invited.bytes.includes(secret));
  });
});

test("V032: what a client calls unsigned is content, and a transaction ID its own", async () => {
  const laptop = await server.login(alice);
  const txnId = "whose-transaction";
  const path = roomPath(roomId, "send", "m.room.message", txnId);
  const forged = { transaction_id: "x", redacted_because: {}, "m.relations": { x: 1 }, age: 1 };
  const { body } = await alice.request("PUT", path, { body: "x", unsigned: forged });
  const eventId = textAt(body, "event_id");
  const reads = [
    roomPath(roomId, "event", eventId),
    `${roomPath(roomId, "context", eventId)}?limit=1`,
    `${roomPath(roomId, "messages")}?dir=b&limit=5`,
    `${V3}/sync`,
  ];
  for (const read of reads) {
    for (const user of [bob, laptop]) {
      const { bytes } = await user.request("GET", read);
      assert.ok(bytes.includes(eventId), read);
      assert.ok(!bytes.includes(txnId), read);
    }
    assert.ok((await alice.request("GET", read)).bytes.includes(txnId), read);
  }
  const seen = await bob.call("GET", roomPath(roomId, "event", eventId));
  assert.deepEqual(Object.keys(at(seen, "unsigned") ?? {}), ["age", "membership"]);
  assert.notEqual(at(seen, "unsigned", "age"), 1);
  assert.deepEqual(at(seen, "content", "unsigned"), forged);
});

test("V052: an ACL that would shut out this server is refused, at creation too", async () => {
  const room = await alice.createRoom({});
  for (const acl of [{}, { allow: ["*"], deny: ["*"] }, { allow: ["elsewhere.example"] }]) {
    const later = await alice.request("PUT", roomPath(room, "state", "m.room.server_acl", ""), acl);
    assert.equal(later.status, 400, JSON.stringify(acl));
    const initial_state = [{ type: "m.room.server_acl", content: acl }];
    const first = await alice.request("POST", `${V3}/createRoom`, { initial_state });
    assert.equal(first.status, 400, JSON.stringify(acl));
  }
});

test("V167: a state key that names somebody is theirs alone", async () => {
  const room = await alice.createRoom({ preset: "public_chat" });
  await bob.join(room);
  await alice.sendState(room, "m.room.power_levels", {
    ...(await alice.call("GET", roomPath(room, "state", "m.room.power_levels", ""))),
    state_default: 0,
  });
  for (const stateKey of [alice.userId, "@x", `@nobody:${server.serverName}`, "@x:elsewhere"]) {
    const path = roomPath(room, "state", "org.example.x", stateKey);
    const { status, body } = await bob.request("PUT", path, {});
    assert.deepEqual([status, body["errcode"]], [403, "M_FORBIDDEN"], stateKey);
  }
  await bob.sendState(room, "org.example.x", {}, bob.userId);
});

async function storedJson(eventId: string): Promise<string> {
  const { rows } = await server.database.pool.query<{ json: string }>(
    "select json from events where event_id = $1",
    [eventId],
  );
  return rows[0]?.json ?? "";
}

async function storedPdu(eventId: string): Promise<JsonObject> {
  const pdu: unknown = JSON.parse(await storedJson(eventId));
  assert.ok(isObject(pdu));
  return pdu;
}

/** Canonical JSON once more, by another way than the server's: keys are compared as UTF-8. */
function referenceJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(referenceJson).join(",")}]`;
  if (!isObject(value)) return JSON.stringify(value);
  const keys = Object.keys(value).toSorted((a, b) => Buffer.from(a).compare(Buffer.from(b)));
  const members = keys.map((key) => `${JSON.stringify(key)}:${referenceJson(value[key])}`);
  return `{${members.join(",")}}`;
}

function sha256(text: string, encoding: "base64" | "base64url"): string {
  return createHash("sha256").update(text).digest(encoding).replaceAll("=", "");
}
