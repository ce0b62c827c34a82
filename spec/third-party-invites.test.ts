import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { JsonObject } from "./shape.ts";
import { signJson } from "./signed-json.ts";
import { SigningKey } from "./signing.ts";
import { isInviteSignedWith } from "./third-party-invites.ts";

/** Keys whose base64 has characters that the two alphabets spell differently. */
const keys = Array.from({ length: 50 }, (_, i) => new SigningKey("0", Buffer.alloc(32, i)));
const key = keys.find(({ publicKey }) => publicKey.includes("+") && publicKey.includes("/"));
const other = new SigningKey("0", Buffer.alloc(32, 99));
assert.ok(key !== undefined);

const block: JsonObject = { mxid: "@bob:b.example", token: "tok" };
const signed = signJson(block, "is.example", key);

describe("V047: the signed block of a third-party invite", () => {
  it("is signed with the key that signed it, in either alphabet", () => {
    assert.equal(isInviteSignedWith(signed, key.publicKey), true);
    const urlSafe = key.publicKey.replaceAll("+", "-").replaceAll("/", "_");
    assert.equal(isInviteSignedWith(signed, urlSafe), true);
  });

  it("is signed if any of its signatures is by the key", () => {
    const twice = signJson(signJson(block, "other.example", other), "is.example", key);
    assert.equal(isInviteSignedWith(twice, key.publicKey), true);
    assert.equal(isInviteSignedWith(twice, other.publicKey), true);
  });

  it("is not signed with another key, nor when it was changed", () => {
    assert.equal(isInviteSignedWith(signed, other.publicKey), false);
    assert.equal(isInviteSignedWith({ ...signed, mxid: "@eve:e.example" }, key.publicKey), false);
  });

  it("is not signed where signatures or the key are malformed", () => {
    for (const signatures of [undefined, null, [], "x", { "is.example": null }, { a: { b: 7 } }]) {
      assert.equal(isInviteSignedWith({ ...block, signatures }, key.publicKey), false);
    }
    for (const publicKey of ["", "%", "AAAA", `${key.publicKey}AAAA`, "+/+/"]) {
      assert.equal(isInviteSignedWith(signed, publicKey), false);
    }
  });

  it("is tried no more than ten times", () => {
    const many = Object.fromEntries(
      Array.from({ length: 10 }, (_, i) => [`s${i}.example`, { "ed25519:0": "AAAA" }]),
    );
    const signatures = { ...many, ...signed.signatures };
    assert.equal(isInviteSignedWith({ ...block, signatures }, key.publicKey), false);
  });
});
