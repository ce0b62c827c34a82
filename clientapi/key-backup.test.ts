import assert from "node:assert/strict";
import { after, before, suite, test } from "node:test";
import type { JsonObject } from "../spec/shape.ts";
import { type Alice, refused } from "./accounts-testing.ts";
import { type EncryptionServer, openEncryptionServer } from "./encryption-testing.ts";

const VERSION = "/_matrix/client/v3/room_keys/version";
const KEYS = "/_matrix/client/v3/room_keys/keys";
const algorithm = "m.megolm_backup.v1.curve25519-aes-sha2";
const info = { algorithm, auth_data: { public_key: "abcdefg", signatures: {} } };
const data = {
  first_message_index: 1,
  forwarded_count: 0,
  is_verified: false,
  session_data: { ephemeral: "e", ciphertext: "c", mac: "m" },
};
const room = "!room:example.org";
const other = "!other:example.org";

suite("key backups", () => {
  let server: EncryptionServer;
  let alice: Alice;

  before(async () => {
    server = await openEncryptionServer();
    alice = await server.register("alice");
  });
  after(() => server[Symbol.asyncDispose]());

  const at = (...path: string[]) => [KEYS, ...path.map(encodeURIComponent)].join("/");

  async function ok(method: string, path: string, body?: unknown): Promise<JsonObject> {
    const answer = await alice.request(method, path, body);
    assert.equal(answer.status, 200, answer.text);
    return answer.body;
  }

  test("have a version each", async () => {
    refused(await alice.request("GET", VERSION), 404, "M_NOT_FOUND");
    assert.deepEqual(await ok("POST", VERSION, info), { version: "1" });
    assert.deepEqual(await ok("POST", VERSION, info), { version: "2" });
    const second = { ...info, version: "2", count: 0, etag: "0" };
    assert.deepEqual(await ok("GET", VERSION), second);
    const auth_data = { public_key: "other", more: { numbers: 1 } };
    assert.deepEqual(await ok("PUT", `${VERSION}/1`, { ...info, auth_data }), {});
    assert.deepEqual(await ok("GET", `${VERSION}/1`), { ...second, version: "1", auth_data });
    refused(
      await alice.request("PUT", `${VERSION}/1`, { ...info, version: "2" }),
      400,
      "M_INVALID_PARAM",
    );
    refused(await alice.request("PUT", `${VERSION}/9`, info), 404, "M_NOT_FOUND");
    assert.deepEqual(await ok("DELETE", `${VERSION}/1`), {});
    assert.deepEqual(await ok("DELETE", `${VERSION}/1`), {});
    refused(await alice.request("DELETE", `${VERSION}/9`), 404, "M_NOT_FOUND");
    refused(await alice.request("GET", `${VERSION}/1`), 404, "M_NOT_FOUND");
  });

  test("hold keys, by session, by room and all", async () => {
    assert.deepEqual(await ok("GET", `${KEYS}?version=2`), { rooms: {} });
    assert.deepEqual(await ok("GET", `${at(room)}?version=2`), { sessions: {} });
    const rooms = {
      [room]: { sessions: { "a/b": data, c: { ...data, is_verified: true } } },
      [other]: { sessions: { "a/b": data } },
    };
    const put = await ok("PUT", `${KEYS}?version=2`, { rooms });
    assert.deepEqual(put, { etag: "1", count: 3 });
    assert.deepEqual(await ok("GET", `${KEYS}?version=2`), { rooms });
    assert.deepEqual(await ok("GET", `${at(room)}?version=2`), rooms[room]);
    assert.deepEqual(await ok("GET", `${at(room, "a/b")}?version=2`), data);
    refused(await alice.request("GET", `${at(room, "x")}?version=2`), 404, "M_NOT_FOUND");
    const better = { ...data, first_message_index: 0 };
    assert.deepEqual(await ok("PUT", `${at(room, "a/b")}?version=2`, better), {
      etag: "2",
      count: 3,
    });
    assert.deepEqual(await ok("PUT", `${at(room)}?version=2`, rooms[room]), {
      etag: "2",
      count: 3,
    });
    assert.deepEqual(await ok("GET", `${at(room, "a/b")}?version=2`), better);
    assert.deepEqual(await ok("DELETE", `${at(room, "a/b")}?version=2`), { etag: "3", count: 2 });
    assert.deepEqual(await ok("DELETE", `${at(room)}?version=2`), { etag: "4", count: 1 });
    assert.deepEqual(await ok("DELETE", `${KEYS}?version=2`), { etag: "5", count: 0 });
  });

  test("are written to where they are current, and read where they are there", async () => {
    const rooms = { rooms: { [room]: { sessions: { a: data } } } };
    const wrong = await alice.request("PUT", `${KEYS}?version=1`, rooms);
    refused(wrong, 403, "M_WRONG_ROOM_KEYS_VERSION");
    assert.equal(wrong.body["current_version"], "2");
    const other = await server.register("bob");
    refused(await other.request("PUT", `${KEYS}?version=1`, rooms), 404, "M_NOT_FOUND");
    for (const path of [KEYS, at(room), at(room, "a")]) {
      refused(await alice.request("GET", `${path}?version=9`), 404, "M_NOT_FOUND");
      refused(await alice.request("DELETE", `${path}?version=9`), 404, "M_NOT_FOUND");
      refused(await alice.request("GET", path), 400, "M_MISSING_PARAM");
    }
  });

  test("of many pages come whole", async () => {
    const sessions = Object.fromEntries(Array.from({ length: 700 }, (_, i) => [`s${i}`, data]));
    const rooms = { [room]: { sessions }, [other]: { sessions } };
    await ok("PUT", `${KEYS}?version=2`, { rooms });
    assert.deepEqual(await ok("GET", `${KEYS}?version=2`), { rooms });
    assert.deepEqual(await ok("GET", `${at(other)}?version=2`), { sessions });
  });

  test("refuse what is odd", async () => {
    const odd: [string, string, unknown, string][] = [
      ["POST", VERSION, { auth_data: info.auth_data }, "M_MISSING_PARAM"],
      ["POST", VERSION, { ...info, algorithm: "org.example" }, "M_INVALID_PARAM"],
      ["POST", VERSION, { ...info, auth_data: {} }, "M_MISSING_PARAM"],
      ["POST", VERSION, { ...info, auth_data: [] }, "M_BAD_JSON"],
      ["PUT", `${KEYS}?version=2`, {}, "M_MISSING_PARAM"],
      ["PUT", `${KEYS}?version=2`, { rooms: { room: { sessions: {} } } }, "M_INVALID_PARAM"],
      ["PUT", `${KEYS}?version=2`, { rooms: { [room]: {} } }, "M_MISSING_PARAM"],
      ["PUT", `${at(room)}?version=2`, { sessions: { a: 1 } }, "M_BAD_JSON"],
      ["PUT", `${at(room)}?version=2`, { sessions: { "a\0": data } }, "M_INVALID_PARAM"],
      ["PUT", `${at(room, "a")}?version=2`, { ...data, forwarded_count: -1 }, "M_INVALID_PARAM"],
      ["PUT", `${at(room, "a")}?version=2`, { ...data, forwarded_count: 1.5 }, "M_BAD_JSON"],
      ["PUT", `${at(room, "a")}?version=2`, { ...data, is_verified: "yes" }, "M_BAD_JSON"],
      ["PUT", `${at("room", "a")}?version=2`, data, "M_INVALID_PARAM"],
    ];
    for (const [method, path, body, errcode] of odd) {
      refused(await alice.request(method, path, body), 400, errcode);
    }
  });
});
