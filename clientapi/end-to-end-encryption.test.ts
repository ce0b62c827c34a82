import assert from "node:assert/strict";
import { after, before, suite, test } from "node:test";
import { TestDevice, TestIdentity, signedBy } from "../server/keys/testing.ts";
import type { OneTimeKey } from "../spec/encryption-keys.ts";
import type { JsonObject } from "../spec/shape.ts";
import { type Alice, refused } from "./accounts-testing.ts";
import { type EncryptionServer, openEncryptionServer } from "./encryption-testing.ts";

const UPLOAD = "/_matrix/client/v3/keys/upload";
const QUERY = "/_matrix/client/v3/keys/query";
const CLAIM = "/_matrix/client/v3/keys/claim";
const CHANGES = "/_matrix/client/v3/keys/changes";
const SIGNING = "/_matrix/client/v3/keys/device_signing/upload";
const SIGNATURES = "/_matrix/client/v3/keys/signatures/upload";

let server: EncryptionServer;
let alice: Alice;
let device: TestDevice;

before(async () => {
  server = await openEncryptionServer();
  alice = await server.register("alice");
  device = new TestDevice(alice.userId, alice.deviceId);
});
after(() => server[Symbol.asyncDispose]());

const wire = (keys: OneTimeKey[]): JsonObject =>
  Object.fromEntries(keys.map(({ algorithm, keyId, key }) => [`${algorithm}:${keyId}`, key]));

suite("keys of devices", () => {
  test("go up, are asked for, and are claimed", async () => {
    const uploaded = await alice.request("POST", UPLOAD, {
      device_keys: device.deviceKeys,
      one_time_keys: wire([device.oneTimeKey("A")]),
      fallback_keys: wire([device.fallbackKey("F")]),
    });
    assert.deepEqual(uploaded.body, { one_time_key_counts: { signed_curve25519: 1 } });

    const bob = await server.register("bob");
    const found = await bob.request("POST", QUERY, {
      timeout: 1000,
      device_keys: { [alice.userId]: [], [bob.userId]: [bob.deviceId], "@x:far.example": [] },
    });
    assert.equal(found.status, 200);
    const { failures, ...rest } = found.body;
    assert.deepEqual(rest, {
      device_keys: {
        [alice.userId]: { [alice.deviceId]: { ...device.deviceKeys, unsigned: {} } },
        [bob.userId]: {},
      },
      master_keys: {},
      self_signing_keys: {},
      user_signing_keys: {},
    });
    assert.deepEqual(Object.keys(failures as JsonObject), ["far.example"]);

    const wanted = {
      one_time_keys: { [alice.userId]: { [alice.deviceId]: "signed_curve25519" } },
    };
    for (const key of [device.oneTimeKey("A"), device.fallbackKey("F")]) {
      const claimed = await bob.request("POST", CLAIM, wanted);
      assert.deepEqual(claimed.body, {
        failures: {},
        one_time_keys: { [alice.userId]: { [alice.deviceId]: wire([key]) } },
      });
    }
  });

  test("V077, V083: odd uploads are refused, and store nothing", async () => {
    const { deviceKeys } = device;
    const before = server.position();
    const odd: [unknown, string][] = [
      [{ device_keys: null }, "M_BAD_JSON"],
      [{ one_time_keys: null }, "M_BAD_JSON"],
      [{ fallback_keys: [] }, "M_BAD_JSON"],
      [{ device_keys: { ...deviceKeys, algorithms: "all" } }, "M_BAD_JSON"],
      [{ device_keys: { ...deviceKeys, user_id: "@bob:example.org" } }, "M_INVALID_PARAM"],
      [{ device_keys: { ...deviceKeys, device_id: "OTHER" } }, "M_INVALID_PARAM"],
      [
        {
          one_time_keys: wire(
            Array.from({ length: 501 }, (_, i) => ({ algorithm: "a", keyId: `${i}`, key: "k" })),
          ),
        },
        "M_INVALID_PARAM",
      ],
      ["[]", "M_BAD_JSON"],
      ["nothing", "M_NOT_JSON"],
      ['{"one_time_keys": {"a:1": "k", "a:1": "k"}}', "M_BAD_JSON"],
      [`{"device_keys": ${"[".repeat(60_000)}}`, "M_BAD_JSON"],
    ];
    for (const [body, errcode] of odd)
      refused(await alice.request("POST", UPLOAD, body), 400, errcode);
    const many = wire(
      Array.from({ length: 10_000 }, (_, i) => device.oneTimeKey(`m${i % 10}`)).map((key, i) => ({
        ...key,
        keyId: `m${i}`,
      })),
    );
    refused(await alice.request("POST", UPLOAD, { one_time_keys: many }), 413, "M_TOO_LARGE");
    assert.equal(server.position(), before);
  });

  test("odd questions are refused", async () => {
    const { userId } = alice;
    const odd: [string, unknown, string][] = [
      [QUERY, {}, "M_MISSING_PARAM"],
      [QUERY, { device_keys: [] }, "M_BAD_JSON"],
      [QUERY, { device_keys: { alice: [] } }, "M_INVALID_PARAM"],
      [QUERY, { device_keys: { [userId]: "X" } }, "M_BAD_JSON"],
      [QUERY, { device_keys: { [userId]: ["a\0b"] } }, "M_INVALID_PARAM"],
      [QUERY, { device_keys: {}, timeout: -1 }, "M_INVALID_PARAM"],
      [QUERY, { device_keys: {}, timeout: "1" }, "M_BAD_JSON"],
      [CLAIM, {}, "M_MISSING_PARAM"],
      [CLAIM, { one_time_keys: { [userId]: [] } }, "M_BAD_JSON"],
      [CLAIM, { one_time_keys: { [userId]: { X: 1 } } }, "M_BAD_JSON"],
      [CLAIM, { one_time_keys: { [userId]: { X: "a\0" } } }, "M_INVALID_PARAM"],
    ];
    for (const [path, body, errcode] of odd)
      refused(await alice.request("POST", path, body), 400, errcode);
    refused(await alice.request("GET", `${CHANGES}?from=1`), 400, "M_MISSING_PARAM");
    refused(await alice.request("GET", `${CHANGES}?from=1&to=x`), 400, "M_INVALID_PARAM");
    refused(await server.request("POST", QUERY, { device_keys: {} }), 401, "M_MISSING_TOKEN");
  });

  test("names that mean something to JavaScript mean nothing", async () => {
    const body = `{"device_keys": {"${alice.userId}": ["__proto__", "constructor"]}}`;
    const answer = await alice.request("POST", QUERY, body);
    assert.deepEqual(answer.body["device_keys"], { [alice.userId]: {} });
    const keys = '{"one_time_keys": {"org.example:__proto__": "k", "__proto__:1": "k"}}';
    assert.equal((await alice.request("POST", UPLOAD, keys)).status, 200);
    const wanted = `{"one_time_keys": {"${alice.userId}": {"${alice.deviceId}": "__proto__", "__proto__": "a"}}}`;
    const claimed = await alice.request("POST", CLAIM, wanted);
    assert.equal(claimed.text.includes('{"__proto__:1":"k"}'), true, claimed.text);
  });

  test("changes are told since a token", async () => {
    const position = server.position();
    const phone = await server.logIn(alice);
    const { deviceKeys } = new TestDevice(phone.userId, phone.deviceId);
    await phone.request("POST", UPLOAD, { device_keys: deviceKeys });
    const at = server.position();
    const changed = await alice.request("GET", `${CHANGES}?from=${position}&to=${at}`);
    assert.deepEqual(changed.body, { changed: [alice.userId], left: [] });
    const nothing = await alice.request("GET", `${CHANGES}?from=${at}&to=${at}`);
    assert.deepEqual(nothing.body, { changed: [], left: [] });
  });
});

suite("cross-signing", () => {
  const wireOf = ({ upload }: TestIdentity): JsonObject => ({
    master_key: upload.master.json,
    self_signing_key: upload.self_signing.json,
    user_signing_key: upload.user_signing.json,
  });

  test("V080: the first keys need no password, other keys do", async () => {
    const user = await server.register("carol");
    const first = new TestIdentity(user.userId);
    for (let i = 0; i < 2; i++) {
      const answer = await user.request("POST", SIGNING, wireOf(first));
      assert.deepEqual([answer.status, answer.body], [200, {}], answer.text);
    }
    const second = new TestIdentity(user.userId, 1);
    const asked = await user.request("POST", SIGNING, wireOf(second));
    assert.equal(asked.status, 401);
    assert.deepEqual(asked.body["flows"], [{ stages: ["m.login.password"] }]);
    const auth = {
      type: "m.login.password",
      session: asked.body["session"],
      identifier: { type: "m.id.user", user: user.userId },
      password: user.password,
    };
    refused(
      await user.request("POST", SIGNING, { ...wireOf(second), auth: { ...auth, password: "no" } }),
      401,
      "M_FORBIDDEN",
    );
    const master = async () => {
      const answer = await user.request("POST", QUERY, { device_keys: { [user.userId]: [] } });
      return (answer.body["master_keys"] as Record<string, JsonObject>)[user.userId]?.["keys"];
    };
    assert.deepEqual(await master(), first.masterKey.json["keys"]);
    const done = await user.request("POST", SIGNING, { ...wireOf(second), auth });
    assert.equal(done.status, 200, done.text);
    assert.deepEqual(await master(), second.masterKey.json["keys"]);
  });

  test("keys that came with the first request need not be sent again", async () => {
    const user = await server.register("dora");
    await user.request("POST", SIGNING, wireOf(new TestIdentity(user.userId)));
    const second = new TestIdentity(user.userId, 1);
    const asked = await user.request("POST", SIGNING, wireOf(second));
    const done = await user.request("POST", SIGNING, {
      auth: {
        type: "m.login.password",
        session: asked.body["session"],
        identifier: { type: "m.id.user", user: user.userId },
        password: user.password,
      },
    });
    assert.equal(done.status, 200, done.text);
    const answer = await user.request("POST", QUERY, { device_keys: { [user.userId]: [] } });
    assert.deepEqual(answer.body["self_signing_keys"], {
      [user.userId]: second.selfSigningKey.json,
    });
  });

  test("odd uploads are refused", async () => {
    const user = await server.register("emma");
    const identity = new TestIdentity(user.userId);
    const { json } = identity.masterKey;
    const odd: [JsonObject, string][] = [
      [{}, "M_MISSING_PARAM"],
      [{ self_signing_key: identity.selfSigningKey.json }, "M_MISSING_PARAM"],
      [{ master_key: null }, "M_BAD_JSON"],
      [{ master_key: { ...json, keys: {} } }, "M_INVALID_PARAM"],
      [{ master_key: { ...json, usage: ["other"] } }, "M_INVALID_PARAM"],
      [{ master_key: new TestIdentity("@other:example.org").masterKey.json }, "M_INVALID_PARAM"],
      [
        { master_key: json, self_signing_key: { ...identity.selfSigningKey.json, x: 1 } },
        "M_INVALID_SIGNATURE",
      ],
      [{ master_key: json, auth: 1 }, "M_BAD_JSON"],
    ];
    for (const [body, errcode] of odd)
      refused(await user.request("POST", SIGNING, body), 400, errcode);
  });

  test("signatures are taken, and those that fail are named", async () => {
    const user = await server.register("fiona");
    const phone = new TestDevice(user.userId, user.deviceId);
    const identity = new TestIdentity(user.userId);
    await user.request("POST", UPLOAD, { device_keys: phone.deviceKeys });
    await user.request("POST", SIGNING, wireOf(identity));
    const signed = signedBy(phone.deviceKeys, user.userId, identity.selfSigning);
    const answer = await user.request("POST", SIGNATURES, {
      [user.userId]: { [user.deviceId]: signed, OTHER: signed },
    });
    assert.equal(answer.status, 200);
    assert.deepEqual(answer.body, {
      failures: {
        [user.userId]: { OTHER: { errcode: "M_NOT_FOUND", error: "The key is not known" } },
      },
    });
    refused(await user.request("POST", SIGNATURES, { fiona: {} }), 400, "M_INVALID_PARAM");
    refused(await user.request("POST", SIGNATURES, { [user.userId]: { X: 1 } }), 400, "M_BAD_JSON");
  });
});

suite("messages to devices", () => {
  const path = (type: string, txnId: string) =>
    `/_matrix/client/v3/sendToDevice/${encodeURIComponent(type)}/${encodeURIComponent(txnId)}`;

  test("are sent once", async () => {
    const body = { messages: { [alice.userId]: { "*": { hello: "there" } } } };
    const before = server.position();
    for (let i = 0; i < 2; i++) {
      const answer = await alice.request("PUT", path("m.dummy", "1"), body);
      assert.deepEqual([answer.status, answer.body], [200, {}]);
    }
    const range = { after: before, upTo: server.position(), limit: 100 };
    const found = await server.toDevice.list(alice.userId, alice.deviceId, range);
    assert.deepEqual(
      found.map(({ json }) => JSON.parse(json) as unknown),
      [{ type: "m.dummy", sender: alice.userId, content: { hello: "there" } }],
    );
  });

  test("that are odd are refused", async () => {
    const odd: [unknown, number, string][] = [
      [{}, 400, "M_MISSING_PARAM"],
      [{ messages: [] }, 400, "M_BAD_JSON"],
      [{ messages: { alice: {} } }, 400, "M_INVALID_PARAM"],
      [{ messages: { [alice.userId]: { X: "text" } } }, 400, "M_BAD_JSON"],
      [{ messages: { [alice.userId]: { "": {} } } }, 400, "M_INVALID_PARAM"],
      [{ messages: { [alice.userId]: { X: { x: "x".repeat(70_000) } } } }, 413, "M_TOO_LARGE"],
    ];
    for (const [body, status, errcode] of odd) {
      refused(await alice.request("PUT", path("m.dummy", "odd"), body), status, errcode);
    }
    const good = { messages: {} };
    refused(await alice.request("PUT", path("m\0dummy", "1"), good), 400, "M_INVALID_PARAM");
    refused(
      await alice.request("PUT", path("m.dummy", "x".repeat(256)), good),
      400,
      "M_INVALID_PARAM",
    );
  });
});
