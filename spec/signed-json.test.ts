import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, it } from "node:test";
import { decodeBase64 } from "./base64.ts";
import type { JsonObject } from "./shape.ts";
import {
  addSignature,
  isSignedBy,
  signatureOf,
  signedText,
  signingKeyIds,
  signJson,
} from "./signed-json.ts";
import { SigningKey } from "./signing.ts";
import { parseJson } from "./strict-json.ts";

const vectors: {
  seed: string;
  server_name: string;
  key_id: string;
  json: { unsigned: JsonObject; signed: JsonObject }[];
} = JSON.parse(readFileSync(new URL("vectors/signing.json", import.meta.url), "utf8"));

const key = new SigningKey("1", decodeBase64(vectors.seed)!);
const other = new SigningKey("2", Buffer.alloc(32, 2));

describe("signed JSON", () => {
  it("gives the vectors of the specification", () => {
    assert.equal(key.keyId, vectors.key_id);
    for (const { unsigned, signed } of vectors.json) {
      assert.deepEqual(signJson(unsigned, vectors.server_name, key), signed);
      assert.ok(isSignedBy(signed, vectors.server_name, key.keyId, key.publicKey));
    }
  });

  it("signs neither `signatures` nor `unsigned`, and keeps both", () => {
    const object = {
      a: 1,
      unsigned: { age: 5 },
      signatures: { "b.example": { "ed25519:x": "AA" } },
    };
    const signed = signJson(object, "a.example", key);
    assert.equal(signedText(object), '{"a":1}');
    assert.deepEqual(signed.unsigned, { age: 5 });
    assert.deepEqual(Object.keys(signed.signatures), ["b.example", "a.example"]);
    const later = { ...signed, unsigned: { age: 6, more: true } };
    assert.ok(isSignedBy(later, "a.example", key.keyId, key.publicKey));
    assert.deepEqual(object.signatures, { "b.example": { "ed25519:x": "AA" } });
  });

  it("holds the signatures of several keys and entities", () => {
    const once = signJson({ a: "😀" }, "a.example", key);
    const twice = signJson(signJson(once, "a.example", other), "@b:c", other);
    assert.ok(isSignedBy(twice, "a.example", "ed25519:1", key.publicKey));
    assert.ok(isSignedBy(twice, "a.example", "ed25519:2", other.publicKey));
    assert.ok(isSignedBy(twice, "@b:c", "ed25519:2", other.publicKey));
    assert.deepEqual(signingKeyIds(twice, "a.example"), ["ed25519:1", "ed25519:2"]);
  });

  it("fails for another object, entity, key identifier or key", () => {
    const signed = signJson({ a: 1 }, "a.example", key);
    assert.equal(isSignedBy({ ...signed, a: 2 }, "a.example", key.keyId, key.publicKey), false);
    assert.equal(isSignedBy({ ...signed, b: 2 }, "a.example", key.keyId, key.publicKey), false);
    assert.equal(isSignedBy(signed, "b.example", key.keyId, key.publicKey), false);
    assert.equal(isSignedBy(signed, "a.example", other.keyId, key.publicKey), false);
    assert.equal(isSignedBy(signed, "a.example", key.keyId, other.publicKey), false);
  });

  it("fails, and does not throw, where the signatures are malformed", () => {
    const malformed = [
      undefined,
      null,
      1,
      "x",
      [],
      {},
      { a: null },
      { a: [] },
      { a: { "ed25519:1": 1 } },
    ];
    for (const signatures of malformed) {
      const object = { signatures };
      assert.equal(isSignedBy(object, "a", "ed25519:1", key.publicKey), false);
      assert.equal(signatureOf(object, "a", "ed25519:1"), undefined);
    }
    assert.deepEqual(signingKeyIds({ signatures: { a: [] } }, "a"), []);
    const inherited = { signatures: {} };
    assert.equal(signatureOf(inherited, "__proto__", "toString"), undefined);
    assert.equal(signatureOf(inherited, "constructor", "name"), undefined);
  });

  it("knows key identifiers of Ed25519 only", () => {
    const signatures = { a: { "ed25519:": "", "ed25519:x": "", "rsa:x": "", x: "" } };
    assert.deepEqual(signingKeyIds({ signatures }, "a"), ["ed25519:x"]);
  });

  it("fails for what has no canonical form", () => {
    const object = { a: "\ud800", signatures: { a: { "ed25519:1": key.sign("x") } } };
    assert.equal(isSignedBy(object, "a", "ed25519:1", key.publicKey), false);
  });

  it("covers numbers as they are written, for requests that carry old events", () => {
    const text = '{"n":12345678901234567890,"x":1.0}';
    const object = parseJson(Buffer.from(text), { maxDepth: 10 }) as JsonObject;
    assert.equal(signedText(object), text);
    assert.ok(isSignedBy(signJson(object, "a", key), "a", key.keyId, key.publicKey));
  });

  it("treats odd names as names", () => {
    const signed = signJson({}, "__proto__", key);
    assert.ok(isSignedBy(signed, "__proto__", key.keyId, key.publicKey));
    assert.deepEqual(Object.keys(addSignature(signed.signatures, "constructor", "k", "s")), [
      "__proto__",
      "constructor",
    ]);
  });
});
