import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import { familyOf, hashOf, isToken, newRefreshToken, newToken } from "./tokens.ts";

test("V106: 100,000 tokens of 256 random bits are all different", () => {
  let asked = 0;
  const random = (bytes: number) => {
    asked = bytes;
    return randomBytes(bytes);
  };
  const tokens = new Set<string>();
  for (let i = 0; i < 100_000; i += 1) tokens.add(newToken("access", random));
  assert.equal(tokens.size, 100_000);
  assert.equal(asked, 32);
});

test("a token is known by its kind and its checksum", () => {
  const access = newToken("access", randomBytes);
  const refresh = newRefreshToken(undefined, randomBytes);
  assert.ok(isToken("access", access));
  assert.ok(isToken("refresh", refresh));
  assert.ok(!isToken("refresh", access));
  assert.ok(!isToken("access", refresh));
  assert.ok(!isToken("login", access));
  for (let i = 0; i < access.length; i += 1) {
    const other = access[i] === "A" ? "B" : "A";
    assert.ok(!isToken("access", access.slice(0, i) + other + access.slice(i + 1)), String(i));
  }
});

test("V107: what is no token is told from its form", () => {
  for (const text of [
    "",
    " ",
    "\0",
    "gma_",
    "gma__",
    "x".repeat(1024 * 1024),
    "null",
    "__proto__",
  ]) {
    assert.ok(!isToken("access", text));
  }
});

test("a refresh token names its family, and its successors the same", () => {
  const first = newRefreshToken(undefined, randomBytes);
  const second = newRefreshToken(familyOf(first), randomBytes);
  assert.notEqual(first, second);
  assert.equal(familyOf(first), familyOf(second));
  assert.notEqual(familyOf(first), familyOf(newRefreshToken(undefined, randomBytes)));
  assert.notDeepEqual(hashOf(first), hashOf(second));
});
