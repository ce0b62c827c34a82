import assert from "node:assert/strict";
import { registerHooks } from "node:module";
import { it } from "node:test";
import nacl from "tweetnacl";
import { encodeBase64 } from "./base64.ts";

it("signs and verifies in the same way where sodium-native has no build", async () => {
  let isAsked = false;
  registerHooks({
    resolve(specifier, context, next) {
      if (specifier !== "sodium-native") return next(specifier, context);
      isAsked = true;
      throw new Error("no build for this machine");
    },
  });
  const { isSignatureValid, SigningKey } = await import("./signing.ts");
  assert.ok(isAsked);

  const pair = nacl.sign.keyPair.fromSeed(new Uint8Array(32).fill(7));
  const key = new SigningKey("1", Buffer.alloc(32, 7));
  const signature = key.sign("message 😀");
  assert.equal(key.publicKey, encodeBase64(pair.publicKey));
  const expected = nacl.sign.detached(Buffer.from("message 😀"), pair.secretKey);
  assert.equal(signature, encodeBase64(expected));
  assert.ok(isSignatureValid("message 😀", signature, key.publicKey));
  assert.equal(isSignatureValid("message", signature, key.publicKey), false);
});
