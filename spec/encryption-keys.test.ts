import assert from "node:assert/strict";
import { suite, test } from "node:test";
import fc from "fast-check";
import { encodeBase64 } from "./base64.ts";
import {
  checkSignatures,
  crossSigningKey,
  deviceKeys,
  keyText,
  oneTimeKeys,
} from "./encryption-keys.ts";
import { type ErrorCode, MatrixError } from "./errors.ts";
import type { UserId } from "./identifiers.ts";
import type { JsonObject, Shape } from "./shape.ts";
import { signJson } from "./signed-json.ts";
import { SigningKey } from "./signing.ts";

const alice: UserId = "@alice:example.org";
const bob: UserId = "@bob:example.org";
const signingKey = new SigningKey("DEVICE", Buffer.alloc(32, 1));
const curveKey = encodeBase64(Buffer.alloc(32, 9));

const device: JsonObject = {
  user_id: alice,
  device_id: "DEVICE",
  algorithms: ["m.olm.v1.curve25519-aes-sha2", "m.megolm.v1.aes-sha2"],
  keys: { "ed25519:DEVICE": signingKey.publicKey, "curve25519:DEVICE": curveKey },
  signatures: { [alice]: { "ed25519:DEVICE": "c2lnbmF0dXJl" } },
};
const keyName = `ed25519:${signingKey.publicKey}`;
const master: JsonObject = {
  user_id: alice,
  usage: ["master"],
  keys: { [keyName]: signingKey.publicKey },
};

function refuses(shape: Shape<unknown>, value: unknown, errcode: ErrorCode): void {
  assert.throws(
    () => shape.read(value, "body"),
    (error) => error instanceof MatrixError && error.errcode === errcode,
    JSON.stringify(value)?.slice(0, 200),
  );
}

const without = (object: JsonObject, key: string): JsonObject =>
  Object.fromEntries(Object.entries(object).filter(([k]) => k !== key));

suite("device keys", () => {
  test("are kept with all that the device's signature covers", () => {
    const more = { ...device, "org.example.extra": { number: 1 }, dehydrated: true };
    assert.deepEqual(deviceKeys.read(more, "body"), more);
  });

  test("lose unsigned and the signatures of others", () => {
    const read = deviceKeys.read(
      {
        ...device,
        unsigned: { device_display_name: "a lie" },
        signatures: { ...(device["signatures"] as JsonObject), [bob]: { "ed25519:X": "c2ln" } },
      },
      "body",
    );
    assert.deepEqual(read, device);
  });

  test("V077: of wrong types, without a member, or of odd values are refused", () => {
    for (const key of ["user_id", "device_id", "algorithms", "keys", "signatures"]) {
      refuses(deviceKeys, without(device, key), "M_MISSING_PARAM");
      for (const wrong of [null, 1, true, [[]]]) {
        refuses(deviceKeys, { ...device, [key]: wrong }, "M_BAD_JSON");
      }
    }
    for (const wrong of [null, 1, "keys", []]) refuses(deviceKeys, wrong, "M_BAD_JSON");
    const odd: [string, unknown, ErrorCode][] = [
      ["user_id", "alice", "M_INVALID_PARAM"],
      ["device_id", "", "M_INVALID_PARAM"],
      ["device_id", "DEV\0ICE", "M_INVALID_PARAM"],
      ["device_id", "D".repeat(256), "M_INVALID_PARAM"],
      ["algorithms", [1], "M_BAD_JSON"],
      ["algorithms", Array(33).fill("a"), "M_INVALID_PARAM"],
      ["keys", { "ed25519:DEVICE": 1 }, "M_BAD_JSON"],
      ["keys", { "ed25519:DEVICE": "short" }, "M_INVALID_PARAM"],
      ["keys", { "ed25519:OTHER": signingKey.publicKey }, "M_INVALID_PARAM"],
      ["keys", { ed25519: signingKey.publicKey }, "M_INVALID_PARAM"],
      ["keys", { ":DEVICE": signingKey.publicKey }, "M_INVALID_PARAM"],
      ["keys", { "curve25519:DEVICE": curveKey }, "M_MISSING_PARAM"],
      // Gives no secret.
      [
        "keys",
        {
          "ed25519:DEVICE": signingKey.publicKey,
          "curve25519:DEVICE": encodeBase64(Buffer.alloc(32)),
        },
        "M_INVALID_PARAM",
      ],
      ["signatures", { [alice]: 1 }, "M_BAD_JSON"],
      ["signatures", { [alice]: { "ed25519:DEVICE": {} } }, "M_BAD_JSON"],
      ["extra", "x".repeat(33_000), "M_TOO_LARGE"],
    ];
    for (const [key, value, errcode] of odd)
      refuses(deviceKeys, { ...device, [key]: value }, errcode);
  });
});

suite("one-time keys", () => {
  const shape = oneTimeKeys({ max: 3 });
  const signed = { key: curveKey, signatures: { [alice]: { "ed25519:DEVICE": "c2ln" } } };

  test("are read by algorithm and ID", () => {
    const read = shape.read(
      { "signed_curve25519:A:B": signed, "curve25519:C": curveKey, "org.example:D": "anything" },
      "body",
    );
    assert.deepEqual(
      read.map(({ algorithm, keyId }) => [algorithm, keyId]),
      [
        ["signed_curve25519", "A:B"],
        ["curve25519", "C"],
        ["org.example", "D"],
      ],
    );
    assert.deepEqual(read[0]?.key, signed);
  });

  test("V077: of wrong types or odd values are refused", () => {
    const odd: [unknown, ErrorCode][] = [
      [null, "M_BAD_JSON"],
      [[], "M_BAD_JSON"],
      [{ "signed_curve25519:A": null }, "M_BAD_JSON"],
      [{ "signed_curve25519:A": 5 }, "M_BAD_JSON"],
      [{ "signed_curve25519:A": curveKey }, "M_BAD_JSON"],
      [{ "signed_curve25519:A": { key: curveKey } }, "M_MISSING_PARAM"],
      [{ "signed_curve25519:A": { signatures: {} } }, "M_MISSING_PARAM"],
      [{ "signed_curve25519:A": { ...signed, key: "A" } }, "M_INVALID_PARAM"],
      [{ "signed_curve25519:A": { ...signed, x: "x".repeat(9000) } }, "M_TOO_LARGE"],
      [{ "curve25519:A": signed }, "M_BAD_JSON"],
      [{ "org.example:A": { key: 1, signatures: {} } }, "M_BAD_JSON"],
      [{ signed_curve25519: signed }, "M_INVALID_PARAM"],
      [{ "signed_curve25519:": signed }, "M_INVALID_PARAM"],
      [{ ":A": signed }, "M_INVALID_PARAM"],
      [{ "signed_curve25519:\0": signed }, "M_INVALID_PARAM"],
      [{ [`signed_curve25519:${"A".repeat(250)}`]: signed }, "M_INVALID_PARAM"],
      [{ "a:1": "k", "a:2": "k", "a:3": "k", "a:4": "k" }, "M_INVALID_PARAM"],
    ];
    for (const [value, errcode] of odd) refuses(shape, value, errcode);
  });
});

suite("cross-signing keys", () => {
  const shape = crossSigningKey("master");

  test("name their public key", () => {
    const read = shape.read({ ...master, unsigned: {}, extra: 1 }, "body");
    assert.equal(read.publicKey, signingKey.publicKey);
    assert.deepEqual(read.json, { ...master, extra: 1 });
  });

  test("of another usage, another form or no curve are refused", () => {
    const key = signingKey.publicKey;
    const odd: [string, unknown, ErrorCode][] = [
      ["usage", ["self_signing"], "M_INVALID_PARAM"],
      ["usage", [], "M_INVALID_PARAM"],
      ["usage", "master", "M_BAD_JSON"],
      ["keys", {}, "M_INVALID_PARAM"],
      ["keys", { [keyName]: key, "ed25519:x": "x" }, "M_INVALID_PARAM"],
      ["keys", { "ed25519:other": key }, "M_INVALID_PARAM"],
      ["keys", { [`${keyName}=`]: `${key}=` }, "M_INVALID_PARAM"],
      ["keys", { [`curve25519:${key}`]: key }, "M_INVALID_PARAM"],
      ["keys", { "ed25519:AAAA": "AAAA" }, "M_INVALID_PARAM"],
      ["keys", { [`ed25519:${"A".repeat(43)}`]: "A".repeat(43) }, "M_INVALID_PARAM"],
      ["signatures", null, "M_BAD_JSON"],
    ];
    for (const [member, value, errcode] of odd) {
      refuses(shape, { ...master, [member]: value }, errcode);
    }
    for (const member of ["user_id", "usage", "keys"]) {
      refuses(shape, without(master, member), "M_MISSING_PARAM");
    }
  });
});

suite("signatures on keys", () => {
  const signers = new Map([[signingKey.keyId, signingKey.publicKey]]);

  test("are good, bad, or by keys that may not sign", () => {
    const signed = signJson(master, alice, signingKey);
    assert.deepEqual(
      checkSignatures(signed, alice, signers).good.map(({ keyId }) => keyId),
      [signingKey.keyId],
    );
    assert.deepEqual(checkSignatures(signed, bob, signers), { good: [], isAnyBad: false });
    assert.deepEqual(checkSignatures(signed, alice, new Map()), { good: [], isAnyBad: false });
    const changed = { ...signed, usage: ["master", "user_signing"] };
    assert.deepEqual(checkSignatures(changed, alice, signers), { good: [], isAnyBad: true });
  });

  test("and unsigned do not count when two keys are compared; all else does", () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 2 })), (object) => {
        const key = JSON.parse(JSON.stringify(object)) as JsonObject;
        delete key["signatures"];
        delete key["unsigned"];
        const dressed = { unsigned: { age: 1 }, ...key, signatures: { [bob]: { a: "b" } } };
        assert.equal(keyText(key), keyText(dressed));
        assert.notEqual(keyText(key), keyText({ ...key, "one more": 1, "and more": 2 }));
      }),
      { numRuns: 50 },
    );
  });
});
