import assert from "node:assert/strict";
import { createHash, createPrivateKey, sign } from "node:crypto";
import { describe, it } from "node:test";
import { inspect } from "node:util";
import { ed25519, ED25519_TORSION_SUBGROUP, x25519 } from "@noble/curves/ed25519.js";
import * as fc from "fast-check";
import nacl from "tweetnacl";
import { decodeBase64, encodeBase64 } from "./base64.ts";
import { isCurve25519Point, isEd25519Point, isSignatureValid, SigningKey } from "./signing.ts";

const seed = Buffer.from("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60", "hex");
const key = new SigningKey("1", seed);
const L = 2n ** 252n + 27742317777372353535851937790883648493n;

function fromLittleEndian(bytes: Uint8Array): bigint {
  return BigInt(`0x${Buffer.from(bytes).reverse().toString("hex")}`);
}

function toLittleEndian(value: bigint): Buffer {
  return Buffer.from(value.toString(16).padStart(64, "0"), "hex").reverse();
}

describe("signatures", () => {
  it("are those of RFC 8032, section 7.1", () => {
    const vectors = [
      {
        seed: "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        publicKey: "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        message: "",
        signature:
          "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
      },
      {
        seed: "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        publicKey: "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        message: "72",
        signature:
          "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
      },
    ];
    for (const vector of vectors) {
      const signer = new SigningKey("1", Buffer.from(vector.seed, "hex"));
      const message = Buffer.from(vector.message, "hex");
      assert.equal(decodeBase64(signer.publicKey)?.toString("hex"), vector.publicKey);
      assert.equal(decodeBase64(signer.sign(message))?.toString("hex"), vector.signature);
      assert.ok(isSignatureValid(message, signer.sign(message), signer.publicKey));
    }
  });

  it("agree with three independent implementations", () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 32, maxLength: 32 }),
        fc.string({ unit: "grapheme" }),
        (random, message) => {
          const signer = new SigningKey("x", random);
          const bytes = Buffer.from(message);
          const pair = nacl.sign.keyPair.fromSeed(random);
          const signature = signer.sign(message);
          assert.equal(signer.publicKey, encodeBase64(pair.publicKey));
          assert.equal(signature, encodeBase64(nacl.sign.detached(bytes, pair.secretKey)));
          assert.equal(signature, encodeBase64(ed25519.sign(bytes, random)));
          const der = Buffer.concat([
            Buffer.from("302e020100300506032b657004220420", "hex"),
            random,
          ]);
          const node = createPrivateKey({ key: der, format: "der", type: "pkcs8" });
          assert.equal(signature, encodeBase64(sign(null, bytes, node)));
        },
      ),
      { numRuns: 10 },
    );
  });

  it("do not hold for another message, signature or key", () => {
    const signature = key.sign("message");
    const bytes = decodeBase64(signature)!;
    for (let at = 0; at < 64; at += 9) {
      const changed = Buffer.from(bytes);
      changed[at]! ^= 1;
      assert.equal(isSignatureValid("message", encodeBase64(changed), key.publicKey), false);
    }
    const other = new SigningKey("1", createHash("sha256").update("other").digest());
    assert.equal(isSignatureValid("messagE", signature, key.publicKey), false);
    assert.equal(isSignatureValid("message", signature, other.publicKey), false);
    assert.equal(isSignatureValid("message", signature.slice(4), key.publicKey), false);
    assert.equal(isSignatureValid("message", "", key.publicKey), false);
    assert.equal(isSignatureValid("message", signature, ""), false);
    assert.equal(isSignatureValid("message", signature, `${key.publicKey}AAAA`), false);
  });

  it("may be padded, and keys too", () => {
    assert.ok(isSignatureValid("m", `${key.sign("m")}==`, `${key.publicKey}=`));
  });

  it("S17: have one text and one canonical S", () => {
    const signature = key.sign("message");
    const last = signature.at(-1)!;
    const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const spare = signature.slice(0, -1) + alphabet[alphabet.indexOf(last) + 1];
    assert.deepEqual(decodeBase64(spare), decodeBase64(signature));
    assert.equal(isSignatureValid("message", spare, key.publicKey), false);
    for (const junk of [` ${signature}`, `${signature}\n`, signature.replaceAll("+", "-")]) {
      if (junk === signature) continue;
      assert.equal(isSignatureValid("message", junk, key.publicKey), false);
    }
    const bytes = decodeBase64(signature)!;
    const large = toLittleEndian(fromLittleEndian(bytes.subarray(32)) + L);
    const malleated = encodeBase64(Buffer.concat([bytes.subarray(0, 32), large]));
    assert.equal(isSignatureValid("message", malleated, key.publicKey), false);
  });

  it("S17: hold for no key of small order, by which everything would be signed", () => {
    // R = A of order 1 and S = 0 solve the equation for every message.
    const identity = ed25519.Point.ZERO.toBytes();
    const forged = encodeBase64(Buffer.concat([identity, Buffer.alloc(32)]));
    for (const hex of ED25519_TORSION_SUBGROUP) {
      const publicKey = encodeBase64(Buffer.from(hex, "hex"));
      assert.equal(isSignatureValid("anything", forged, publicKey), false);
    }
  });
});

describe("SigningKey", () => {
  it("names its key and hides its secret", () => {
    assert.equal(key.keyId, "ed25519:1");
    for (const text of [inspect(key, { depth: 9, showHidden: true }), JSON.stringify(key)]) {
      assert.ok(text.includes(key.publicKey));
      assert.ok(!text.includes(encodeBase64(seed)) && !text.includes("9d 61 b1"));
    }
  });

  it("refuses a seed of another length", () => {
    for (const length of [0, 31, 33, 64]) {
      assert.throws(() => new SigningKey("1", Buffer.alloc(length)), RangeError);
    }
  });
});

describe("points", () => {
  it("of real keys are accepted", () => {
    for (let i = 0; i < 5; i++) {
      const secret = createHash("sha256").update(`${i}`).digest();
      assert.ok(isEd25519Point(ed25519.getPublicKey(secret)));
      assert.ok(isCurve25519Point(x25519.getPublicKey(secret)));
    }
  });

  it("S17: of small order are refused as Ed25519 keys, and so is what is no point", () => {
    for (const hex of ED25519_TORSION_SUBGROUP) {
      assert.equal(isEd25519Point(Buffer.from(hex, "hex")), false);
    }
    const p = 2n ** 255n - 19n;
    for (const y of [p, p + 1n, 2n, 2n ** 255n - 1n]) {
      assert.equal(isEd25519Point(toLittleEndian(y)), false, `y = ${y}`);
    }
    for (const length of [0, 31, 33]) assert.equal(isEd25519Point(Buffer.alloc(length, 9)), false);
  });

  it("S17: that give no secret are refused as Curve25519 keys", () => {
    const p = 2n ** 255n - 19n;
    const orderEight = ED25519_TORSION_SUBGROUP.map((hex) => ed25519.Point.fromHex(hex))
      .filter((point) => !point.is0() && !point.double().double().is0())
      .map((point) => fromLittleEndian(ed25519.utils.toMontgomery(point.toBytes())));
    const small = [0n, 1n, p - 1n, p, p + 1n, ...orderEight];
    assert.equal(new Set(small).size, 7);
    const scalar = createHash("sha256").update("scalar").digest();
    for (const u of small) {
      for (const encoded of [u, u + 2n ** 255n]) {
        const bytes = toLittleEndian(encoded);
        assert.equal(isCurve25519Point(bytes), false, `u = ${u}`);
        assert.throws(() => x25519.scalarMult(scalar, bytes));
      }
    }
    for (const u of [2n, 3n, 9n]) assert.ok(isCurve25519Point(toLittleEndian(u)));
    for (const length of [0, 31, 33])
      assert.equal(isCurve25519Point(Buffer.alloc(length, 9)), false);
  });
});
