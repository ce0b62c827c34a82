import assert from "node:assert/strict";
import { test } from "node:test";
import { MatrixError } from "../../spec/errors.ts";
import { EphemeralUnavailable } from "../ephemeral/ephemeral.ts";
import { InProcessStore } from "../ephemeral/in-process-store.ts";
import type { Caller } from "../route.ts";
import { addressKey, DEFAULT_LIMITS, RateLimits, type RateLimitsOptions } from "./rate-limits.ts";

const ALICE: Caller = {
  userId: "@alice:a",
  tokenId: 1,
  isAdmin: false,
  isGuest: false,
  isSuspended: false,
};

/** Two tokens, and one more each second, on a clock that the test moves. */
function open(options: Partial<RateLimitsOptions> = {}) {
  const clock = { now: 0 };
  const store = new InProcessStore({
    now: () => clock.now,
    onError: (error) => assert.fail(String(error)),
  });
  const limits = { ...DEFAULT_LIMITS, rc_message: { perSecond: 1, burst: 2 } };
  return { clock, store, rateLimits: new RateLimits(store, { enabled: true, limits, ...options }) };
}

const isLimited = (error: unknown): boolean =>
  error instanceof MatrixError && error.errcode === "M_LIMIT_EXCEEDED" && error.status === 429;

test("S06: beyond its burst a user is refused, told when to come again, and others are not", async () => {
  const { clock, rateLimits } = open();
  const who = { caller: ALICE, clientAddress: "1.2.3.4" };
  await rateLimits.takeFor("rc_message", who);
  await rateLimits.takeFor("rc_message", who);
  clock.now = 250;
  await assert.rejects(rateLimits.takeFor("rc_message", who), (error: MatrixError) => {
    assert.ok(isLimited(error));
    assert.deepEqual(error.fields, { retry_after_ms: 750 });
    return true;
  });
  await rateLimits.takeFor("rc_message", { ...who, caller: { ...ALICE, userId: "@bob:a" } });
  await rateLimits.takeFor("rc_invites.per_issuer", who);
  clock.now = 1000;
  await rateLimits.takeFor("rc_message", who);
});

test("S06: who is not logged in is counted by address, of IPv6 by /64", async () => {
  const { rateLimits } = open();
  const take = (clientAddress: string): Promise<void> =>
    rateLimits.takeFor("rc_message", { caller: undefined, clientAddress });
  await take("2001:db8::1");
  await take("2001:db8:0:0:ffff::2");
  await assert.rejects(take("2001:0db8:0000::3"), isLimited);
  await take("2001:db8:0:1::1");
  await take("1.2.3.4");
  await take("1.2.3.4");
  await assert.rejects(take("1.2.3.4"), isLimited);
});

test("addresses as keys", () => {
  for (const [address, key] of [
    ["1.2.3.4", "1.2.3.4"],
    ["::1", "0:0:0:0::/64"],
    ["2001:DB8::", "2001:db8:0:0::/64"],
    ["2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"],
    ["2001:db8:1:2::1.2.3.4", "2001:db8:1:2::/64"],
    ["64:ff9b::1.2.3.4", "64:ff9b:0:0::/64"],
    ["fe80::1", "fe80:0:0:0::/64"],
  ] as const) {
    assert.equal(addressKey(address), key);
  }
});

test("limits can be turned off, and exempt callers are not counted", async () => {
  const who = { caller: ALICE, clientAddress: "1.2.3.4" };
  for (const { rateLimits } of [open({ enabled: false }), open({ isExempt: () => true })]) {
    for (let i = 0; i < 10; i += 1) await rateLimits.takeFor("rc_message", who);
  }
});

test("S06: while the store is away each process counts for itself", async () => {
  const limits = { ...DEFAULT_LIMITS, rc_message: { perSecond: 0.001, burst: 2 } };
  const away = { takeTokens: () => Promise.reject(new EphemeralUnavailable("away")) };
  const rateLimits = new RateLimits(away, { enabled: true, limits });
  await rateLimits.take("rc_message", "k");
  await rateLimits.take("rc_message", "k");
  await assert.rejects(rateLimits.take("rc_message", "k"), isLimited);
});

test("S06: two processes on one store do not double the limit", async () => {
  const { store } = open();
  const limits = { ...DEFAULT_LIMITS, rc_message: { perSecond: 0.001, burst: 3 } };
  const one = new RateLimits(store, { enabled: true, limits });
  const two = new RateLimits(store, { enabled: true, limits });
  await one.take("rc_message", "k");
  await two.take("rc_message", "k");
  await one.take("rc_message", "k");
  await assert.rejects(two.take("rc_message", "k"), isLimited);
});

test("a cost beyond the burst is never allowed", async () => {
  const { rateLimits } = open();
  await assert.rejects(rateLimits.take("rc_message", "k", 3), isLimited);
  await rateLimits.take("rc_message", "k", 2);
});
