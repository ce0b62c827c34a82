import assert from "node:assert/strict";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { test } from "node:test";
import { MatrixError } from "../../spec/errors.ts";
import { DEFAULT_POLICY, Passwords } from "./passwords.ts";

const passwords = new Passwords();
const isWeak = (error: unknown) =>
  error instanceof MatrixError && error.errcode === "M_WEAK_PASSWORD";

test("S14: a password has 8 to 512 characters", () => {
  for (const good of ["12345678", "x".repeat(512), "😀".repeat(8), "😀".repeat(512)]) {
    passwords.check(good);
  }
  for (const bad of ["", "1234567", "x".repeat(513), "😀".repeat(7), "x".repeat(60_000)]) {
    assert.throws(() => passwords.check(bad), isWeak);
  }
});

test("the policy asks for kinds of characters", () => {
  const strict = new Passwords({
    ...DEFAULT_POLICY,
    require_digit: true,
    require_symbol: true,
    require_lowercase: true,
    require_uppercase: true,
  });
  strict.check("aB3$efgh");
  strict.check("ñÑ٣€efgh");
  for (const bad of ["aBc$efgh", "aB3defgh", "AB3$EFGH", "ab3$efgh"]) {
    assert.throws(() => strict.check(bad), isWeak);
  }
});

test("S14: argon2id, and two spellings of one text in Unicode are one password", async () => {
  const stored = await passwords.hash("caf\u00e9 caf\u00e9");
  assert.match(stored, /^\$argon2id\$v=19\$m=19456,t=2,p=1\$/);
  const verdict = await passwords.verify("cafe\u0301 cafe\u0301", stored);
  assert.deepEqual(verdict, { isRight: true, isOutdated: false });
});

test("S14: passwords that differ in the 73rd byte differ", async () => {
  const stored = await passwords.hash(`${"x".repeat(72)}a`);
  assert.equal((await passwords.verify(`${"x".repeat(72)}b`, stored)).isRight, false);
  assert.equal((await passwords.verify(`${"x".repeat(72)}a`, stored)).isRight, true);
});

test("V118: an empty password is never right, nor is any for who has none", async () => {
  const stored = await passwords.hash("something");
  for (const hash of [stored, null, undefined]) {
    assert.equal((await passwords.verify("", hash)).isRight, false);
  }
  assert.equal((await passwords.verify("nobody has this password", undefined)).isRight, false);
});

test("a hash of a lower cost is outdated once it was right", async () => {
  // "something", with 8 MiB and one pass.
  const { hash } = await import("@node-rs/argon2");
  const weak = await hash("something", { memoryCost: 8192, timeCost: 1, parallelism: 1 });
  assert.deepEqual(await passwords.verify("something", weak), { isRight: true, isOutdated: true });
  assert.deepEqual(await passwords.verify("other", weak), { isRight: false, isOutdated: false });
});

test("S14: 200 logins at once keep the event loop free", async () => {
  const stored = await passwords.hash("something");
  const delay = monitorEventLoopDelay({ resolution: 5 });
  delay.enable();
  await Promise.all(Array.from({ length: 200 }, () => passwords.verify("other", stored)));
  delay.disable();
  assert.ok(delay.percentile(99) < 100e6, `p99 ${delay.percentile(99) / 1e6} ms`);
});

test("S14: the queue has an end, and goes on after it was full", async () => {
  const slow = new Passwords(DEFAULT_POLICY, { slots: 1, maxWaiting: 3 });
  const outcomes = await Promise.allSettled(
    Array.from({ length: 9 }, () => slow.hash("something")),
  );
  const refused = outcomes.filter((outcome) => outcome.status === "rejected");
  assert.equal(refused.length, 5);
  for (const { reason } of refused) {
    assert.ok(reason instanceof MatrixError && reason.errcode === "M_LIMIT_EXCEEDED");
  }
  await slow.hash("something");
});

test("S14, S32: an unknown user takes as long as a known one", async () => {
  const stored = await passwords.hash("something");
  const known: number[] = [];
  const unknown: number[] = [];
  for (let i = 0; i < 30; i += 1) {
    for (const [times, hash] of [
      [known, stored],
      [unknown, undefined],
    ] as const) {
      const start = performance.now();
      await passwords.verify("other one", hash);
      times.push(performance.now() - start);
    }
  }
  const median = (list: number[]) => list.toSorted((a, b) => a - b)[list.length / 2] ?? 0;
  const ratio = median(unknown) / median(known);
  // Far narrower than the whole hash that would be missing; the machine is shared.
  assert.ok(ratio > 0.7 && ratio < 1.4, `ratio ${ratio}`);
});
