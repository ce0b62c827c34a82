import assert from "node:assert/strict";
import { after, suite, test } from "node:test";
import { queryLocalKeys } from "./query.ts";
import type { UserId } from "../../spec/identifiers.ts";
import * as devices from "../../storage/devices.ts";
import * as oneTimeKeys from "../../storage/one-time-keys.ts";
import { openTestDatabase } from "../../storage/testing.ts";
import { alice, bob } from "../rooms/testing.ts";
import { fails, newDevice, openTestKeys, TestDevice, TestIdentity } from "./testing.ts";
import { uploadKeys, type KeyUpload } from "./upload.ts";

const database = await openTestDatabase();
const { keys, stream, ...house } = await openTestKeys(database);
after(async () => {
  await house[Symbol.asyncDispose]();
  await database[Symbol.asyncDispose]();
});

const nothing: KeyUpload = { oneTimeKeys: [], fallbackKeys: [] };

async function published(userId: UserId) {
  const { deviceKeys } = await queryLocalKeys(database, new Map([[userId, []]]), userId);
  return deviceKeys.get(userId) ?? {};
}

async function claimed(device: TestDevice): Promise<string | undefined> {
  const { oneTimeKeys: found } = await keys.claim({
    devices: new Map([[device.userId, new Map([[device.deviceId, "signed_curve25519"]])]]),
    timeoutMs: 1000,
  });
  const byDevice = found.get(device.userId) as Record<string, object> | undefined;
  return Object.keys(byDevice?.[device.deviceId] ?? {})[0];
}

suite("uploading keys", () => {
  test("publishes device keys, once, and tells of them", async () => {
    const device = await newDevice(database, alice, "PUBLISH", "Alice's phone");
    const before = stream.position;
    assert.deepEqual(await keys.upload(device, { ...nothing, deviceKeys: device.deviceKeys }), {
      signed_curve25519: 0,
    });
    assert.deepEqual((await published(alice))["PUBLISH"], {
      ...device.deviceKeys,
      unsigned: { device_display_name: "Alice's phone" },
    });
    assert.deepEqual(
      stream.after(before)?.map(({ kind, userId }) => [kind, userId]),
      [["device_list", alice]],
    );
    await keys.upload(device, { ...nothing, deviceKeys: device.deviceKeys });
    assert.equal(stream.position, before + 1);
  });

  test("V079: refuses device_keys of another user or device, and stores nothing", async () => {
    const device = await newDevice(database, bob, "MINE");
    const before = stream.position;
    for (const other of [new TestDevice(alice, "MINE"), new TestDevice(bob, "OTHER")]) {
      await assert.rejects(
        keys.upload(device, {
          deviceKeys: other.deviceKeys,
          oneTimeKeys: device.oneTimeKeys("x", 2),
          fallbackKeys: [device.fallbackKey("x")],
        }),
        fails("M_INVALID_PARAM"),
      );
    }
    assert.equal(stream.position, before);
    assert.deepEqual(await published(bob), {});
    assert.deepEqual(await keys.upload(device, nothing), { signed_curve25519: 0 });
  });

  test("needs a device", async () => {
    await assert.rejects(keys.upload({ userId: alice }, nothing), fails("M_INVALID_PARAM"));
    const ghost = new TestDevice(alice, "GHOST");
    await assert.rejects(
      keys.upload(ghost, { ...nothing, deviceKeys: ghost.deviceKeys }),
      fails("M_UNKNOWN_TOKEN"),
    );
    await keys.upload(ghost, { ...nothing, oneTimeKeys: ghost.oneTimeKeys("g", 3) });
    assert.deepEqual(await keys.upload(ghost, nothing), { signed_curve25519: 0 });
  });

  test("V082: takes the same one-time key again, and refuses another under its ID", async () => {
    const device = await newDevice(database, alice, "SAME");
    const upload = { ...nothing, oneTimeKeys: device.oneTimeKeys("s", 3) };
    assert.deepEqual(await keys.upload(device, upload), { signed_curve25519: 3 });
    const before = stream.position;
    assert.deepEqual(await keys.upload(device, upload), { signed_curve25519: 3 });
    assert.equal(stream.position, before);
    await assert.rejects(
      keys.upload(device, {
        ...nothing,
        oneTimeKeys: [device.oneTimeKey("new"), device.oneTimeKey("s1", "other")],
      }),
      (error) => fails("M_INVALID_PARAM")(error) && /s1 already exists/.test(String(error)),
    );
    assert.deepEqual(await keys.upload(device, nothing), { signed_curve25519: 3 });
  });

  test("V082: two values under one ID at once: one wins, the other is refused", async () => {
    const device = await newDevice(database, alice, "RACE");
    const results = await Promise.allSettled(
      Array.from({ length: 8 }, (_, i) =>
        keys.upload(device, { ...nothing, oneTimeKeys: [device.oneTimeKey("r", `value ${i}`)] }),
      ),
    );
    assert.equal(results.filter((result) => result.status === "fulfilled").length, 1);
    assert.deepEqual(await keys.upload(device, nothing), { signed_curve25519: 1 });
  });

  test("V082: a key that was given out does not come back when its upload is repeated", async () => {
    const device = await newDevice(database, alice, "AGAIN");
    const upload = { ...nothing, oneTimeKeys: device.oneTimeKeys("a", 2) };
    await keys.upload(device, upload);
    const first = await claimed(device);
    assert.deepEqual(await keys.upload(device, upload), { signed_curve25519: 1 });
    const second = await claimed(device);
    assert.notEqual(first, second);
    assert.equal(await claimed(device), undefined);
  });

  test("V083: keeps a bounded stock, the newest", async () => {
    const device = await newDevice(database, alice, "HOARDER");
    for (const batch of ["a", "b", "c", "d", "e", "f"]) {
      await keys.upload(device, { ...nothing, oneTimeKeys: device.oneTimeKeys(batch, 200) });
    }
    assert.deepEqual(await keys.upload(device, nothing), { signed_curve25519: 500 });
    assert.equal((await oneTimeKeys.counts(database.db, device)).get("signed_curve25519"), 500);
    assert.match((await claimed(device)) ?? "", /^signed_curve25519:d/);
  });

  test("V083: refuses fallback keys of many algorithms", async () => {
    const device = await newDevice(database, alice, "FALLBACKS");
    const many = Array.from({ length: 11 }, (_, i) => ({
      algorithm: `org.example.${i}`,
      keyId: "A",
      key: "k",
    }));
    await assert.rejects(
      keys.upload(device, { ...nothing, fallbackKeys: many }),
      fails("M_INVALID_PARAM"),
    );
    await assert.rejects(
      keys.upload(device, {
        ...nothing,
        fallbackKeys: [device.fallbackKey("A"), device.fallbackKey("B")],
      }),
      fails("M_INVALID_PARAM"),
    );
    assert.deepEqual(await oneTimeKeys.listFallbacks(database.db, device), []);
  });

  test("with a new identity drops the stock that the old one signed", async () => {
    const device = await newDevice(database, alice, "REBORN");
    await keys.upload(device, {
      deviceKeys: device.deviceKeys,
      oneTimeKeys: device.oneTimeKeys("old", 3),
      fallbackKeys: [device.fallbackKey("old")],
    });
    const reborn = new TestDevice(alice, "REBORN", 1);
    assert.deepEqual(
      await keys.upload(reborn, {
        deviceKeys: reborn.deviceKeys,
        oneTimeKeys: [reborn.oneTimeKey("old0", "another")],
        fallbackKeys: [],
      }),
      { signed_curve25519: 1 },
    );
    assert.deepEqual(await oneTimeKeys.listFallbacks(database.db, device), []);
  });

  test("tells the device's stock, at once and after each change", async () => {
    const device = await newDevice(database, alice, "STOCK");
    const stock = () => keys.counts.of(alice, "STOCK");
    assert.deepEqual(await stock(), {
      oneTimeKeys: { signed_curve25519: 0 },
      unusedFallbackKeys: [],
    });
    await keys.upload(device, {
      ...nothing,
      oneTimeKeys: [device.oneTimeKey("1"), { algorithm: "org.example", keyId: "1", key: "k" }],
      fallbackKeys: [device.fallbackKey("F")],
    });
    assert.deepEqual(await stock(), {
      oneTimeKeys: { signed_curve25519: 1, "org.example": 1 },
      unusedFallbackKeys: ["signed_curve25519"],
    });
    await claimed(device);
    await claimed(device);
    assert.deepEqual(await stock(), {
      oneTimeKeys: { signed_curve25519: 0, "org.example": 1 },
      unusedFallbackKeys: [],
    });
    await keys.upload(device, { ...nothing, fallbackKeys: [device.fallbackKey("F")] });
    assert.deepEqual((await stock()).unusedFallbackKeys, [], "the same key stays used");
    await keys.upload(device, { ...nothing, fallbackKeys: [device.fallbackKey("G")] });
    assert.deepEqual((await stock()).unusedFallbackKeys, ["signed_curve25519"]);
  });

  test("of another process is seen here", async () => {
    await using other = await openTestKeys(database);
    const device = await newDevice(database, bob, "THERE");
    assert.equal((await keys.counts.of(bob, "THERE")).oneTimeKeys["signed_curve25519"], 0);
    const { stream: there } = other;
    await uploadKeys({ database, stream: there }, device, {
      ...nothing,
      oneTimeKeys: device.oneTimeKeys("t", 5),
    });
    await stream.reached(there.position);
    assert.equal((await keys.counts.of(bob, "THERE")).oneTimeKeys["signed_curve25519"], 5);
  });
});

test("removing devices removes all their keys, and what they signed", async () => {
  const device = await newDevice(database, bob, "GOING");
  await keys.upload(device, {
    deviceKeys: device.deviceKeys,
    oneTimeKeys: device.oneTimeKeys("g", 3),
    fallbackKeys: [device.fallbackKey("g")],
  });
  await keys.counts.of(bob, "GOING");
  await stream.append({
    entries: [{ kind: "device_list", userId: bob }],
    write: async (tx) => {
      await devices.remove(tx, bob, ["GOING"]);
      await keys.removeDevices(tx, bob, ["GOING"]);
    },
  });
  assert.equal((await published(bob))["GOING"], undefined);
  assert.equal(await claimed(device), undefined);
  assert.deepEqual((await keys.counts.of(bob, "GOING")).oneTimeKeys, { signed_curve25519: 0 });
});

test("a device ID that is a cross-signing key of the user is known as such", async () => {
  const carol: UserId = "@carol:here.example";
  const identity = new TestIdentity(carol);
  await keys.uploadCrossSigningKeys(carol, identity.upload, async () => undefined);
  assert.equal(await keys.isCrossSigningKey(carol, identity.selfSigning.publicKey), true);
  assert.equal(await keys.isCrossSigningKey(alice, identity.selfSigning.publicKey), false);
  assert.equal(await keys.isCrossSigningKey(carol, "ANYTHING"), false);
});
