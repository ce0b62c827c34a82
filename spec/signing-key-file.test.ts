import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { formatSigningKey, parseSigningKeys } from "./signing-key-file.ts";
import { SigningKey } from "./signing.ts";

const seed = Buffer.alloc(32, 7);

describe("the signing key file", () => {
  it("reads back what was written", () => {
    const text = formatSigningKey("a_XyZ9", seed);
    assert.equal(text, `ed25519 a_XyZ9 ${seed.toString("base64").replace("=", "")}\n`);
    const [key, ...others] = parseSigningKeys(text);
    assert.equal(others.length, 0);
    assert.equal(key?.keyId, "ed25519:a_XyZ9");
    assert.equal(key?.publicKey, new SigningKey("a_XyZ9", seed).publicKey);
  });

  it("may hold several keys, comments, empty lines, CRLF and padding", () => {
    const first = formatSigningKey("1", seed).trim();
    const second = formatSigningKey("2", Buffer.alloc(32, 8)).trim();
    const keys = parseSigningKeys(`# ours\r\n\r\n  ${first}=  \r\n${second}`);
    assert.deepEqual(
      keys.map((key) => key.keyId),
      ["ed25519:1", "ed25519:2"],
    );
    assert.deepEqual(parseSigningKeys(""), []);
  });

  it("names the wrong line, and not the secret in it", () => {
    const base64 = seed.toString("base64").slice(0, 43);
    const wrong = [
      `ed25519 1`,
      `ed25519 1 ${base64}AA`,
      `ed25519 1 ${base64.slice(1)}`,
      `ed25519 1 ${base64} more`,
      `ed25519 a:b ${base64}`,
      `curve25519 1 ${base64}`,
      `ed25519 1 ${base64.slice(1)}!`,
    ];
    for (const line of wrong) {
      assert.throws(
        () => parseSigningKeys(`# first\n${line}`),
        (error) =>
          error instanceof Error &&
          error.message.startsWith("line 2:") &&
          !error.message.includes(base64.slice(5, 20)),
        line,
      );
    }
  });

  it("is not written with a key version that could not be read", () => {
    for (const version of ["", "a b", "a:b", "é"]) {
      assert.throws(() => formatSigningKey(version, seed), RangeError);
    }
    assert.throws(() => formatSigningKey("1", Buffer.alloc(31)), RangeError);
  });
});
