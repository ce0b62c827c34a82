import assert from "node:assert/strict";
import { test } from "node:test";
import * as devices from "../../storage/devices.ts";
import { LastSeen } from "./last-seen.ts";
import { openTestAccounts } from "./testing.ts";

test("use of a device is noted, of each not more than every 15 minutes", async () => {
  await using accounts = await openTestAccounts();
  const { database, sessions } = accounts;
  const userId = await accounts.accounts.create({ username: "alice", password: "long enough" });
  const { device_id: deviceId } = await sessions.logIn(userId, {
    clientAddress: "::1",
    userAgent: "",
  });
  const seen = async () => (await devices.find(database.db, userId, deviceId))?.last_seen_ts;
  const first = accounts.now;
  assert.equal(await seen(), first);

  await using lastSeen = new LastSeen(database, assert.ifError);
  assert.equal(lastSeen.isDue(first, first + 899_999), false);
  assert.equal(lastSeen.isDue(first, first + 900_000), true);
  assert.equal(lastSeen.isDue(null, first), true);
  const at = (ts: number) => ({ userId, deviceId, ts, ip: "::1", userAgent: "x".repeat(999) });
  lastSeen.note(at(first + 5));
  lastSeen.note(at(first + 7));
  await lastSeen.flush();
  assert.equal(await seen(), first + 7);
  // One that was noted later, by another process, stays.
  lastSeen.note(at(first + 6));
  await lastSeen.flush();
  assert.equal(await seen(), first + 7);
});
