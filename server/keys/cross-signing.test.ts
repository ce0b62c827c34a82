import assert from "node:assert/strict";
import { after, suite, test } from "node:test";
import { MatrixError } from "../../spec/errors.ts";
import type { UserId } from "../../spec/identifiers.ts";
import type { JsonObject } from "../../spec/shape.ts";
import { signJson } from "../../spec/signed-json.ts";
import { openTestDatabase } from "../../storage/testing.ts";
import { alice, bob } from "../rooms/testing.ts";
import type { RemoteKeys } from "./keys.ts";
import {
  fails,
  newDevice,
  openTestKeys,
  remoteServer,
  remoteUser,
  signedBy,
  TestDevice,
  TestIdentity,
} from "./testing.ts";

const database = await openTestDatabase();
const { keys, stream, ...house } = await openTestKeys(database);
after(async () => {
  await house[Symbol.asyncDispose]();
  await database[Symbol.asyncDispose]();
});

const passes = async () => undefined;
const needsProof = async () => {
  throw new MatrixError("M_UNAUTHORIZED", "prove it");
};

let users = 0;
const newUser = (): UserId => `@user${users++}:here.example`;

async function query(viewer: UserId, ...userIds: UserId[]) {
  return keys.query(viewer, {
    users: new Map(userIds.map((userId) => [userId, []])),
    timeoutMs: 1000,
  });
}

suite("uploading cross-signing keys", () => {
  test("V080: needs no proof for the first keys nor for the same again, but for others", async () => {
    const user = newUser();
    const identity = new TestIdentity(user);
    await keys.uploadCrossSigningKeys(user, identity.upload, needsProof);
    const before = stream.position;
    await keys.uploadCrossSigningKeys(user, identity.upload, needsProof);
    await keys.uploadCrossSigningKeys(user, { master: identity.masterKey }, needsProof);
    await keys.uploadCrossSigningKeys(user, {}, needsProof);
    assert.equal(stream.position, before, "the same keys are no news");

    const other = new TestIdentity(user, 1);
    const uploads = [
      other.upload,
      { master: other.masterKey },
      { self_signing: new TestIdentity(user).selfSigningKey, master: other.masterKey },
    ];
    for (const upload of uploads) {
      await assert.rejects(
        keys.uploadCrossSigningKeys(user, upload, needsProof),
        (error) =>
          error instanceof MatrixError &&
          (error.errcode === "M_UNAUTHORIZED" || error.errcode === "M_INVALID_SIGNATURE"),
      );
    }
    const { masterKeys } = await query(user, user);
    assert.deepEqual(masterKeys.get(user)?.["keys"], identity.masterKey.json["keys"]);

    await keys.uploadCrossSigningKeys(user, other.upload, passes);
    const after = await query(user, user);
    assert.deepEqual(after.masterKeys.get(user)?.["keys"], other.masterKey.json["keys"]);
  });

  test("V080: adding a key beside a master key needs proof", async () => {
    const user = newUser();
    const identity = new TestIdentity(user);
    await keys.uploadCrossSigningKeys(user, { master: identity.masterKey }, needsProof);
    const upload = { self_signing: identity.selfSigningKey };
    await assert.rejects(
      keys.uploadCrossSigningKeys(user, upload, needsProof),
      fails("M_UNAUTHORIZED"),
    );
    await keys.uploadCrossSigningKeys(user, upload, passes);
    assert.ok((await query(bob, user)).selfSigningKeys.has(user));
  });

  test("V080: of two first uploads at once one needs proof", async () => {
    const user = newUser();
    await using other = await openTestKeys(database);
    const results = await Promise.allSettled(
      Array.from({ length: 6 }, (_, i) =>
        (i % 2 ? keys : other.keys).uploadCrossSigningKeys(
          user,
          new TestIdentity(user, i).upload,
          needsProof,
        ),
      ),
    );
    const refused = results.filter((result) => result.status === "rejected");
    assert.equal(refused.length, 5);
    for (const { reason } of refused) assert.ok(fails("M_UNAUTHORIZED")(reason), String(reason));
  });

  test("needs a master key, and its signature on the others", async () => {
    const user = newUser();
    const identity = new TestIdentity(user);
    await assert.rejects(keys.uploadCrossSigningKeys(user, {}, passes), fails("M_MISSING_PARAM"));
    await assert.rejects(
      keys.uploadCrossSigningKeys(user, { self_signing: identity.selfSigningKey }, passes),
      fails("M_MISSING_PARAM"),
    );
    const { publicKey, json } = identity.selfSigningKey;
    const wrong: JsonObject[] = [
      { ...json, signatures: {} },
      { ...json, extra: "not signed" },
      signedBy(json, user, new TestIdentity(user, 1).master),
      signedBy(json, bob, identity.master),
    ];
    for (const key of wrong) {
      const self_signing = { publicKey, json: key as typeof json };
      await assert.rejects(
        keys.uploadCrossSigningKeys(user, { ...identity.upload, self_signing }, passes),
        fails("M_INVALID_SIGNATURE"),
      );
    }
    assert.deepEqual([...(await query(user, user)).masterKeys], []);
  });

  test("refuses keys of another user, one key for two usages, and the ID of a device", async () => {
    const user = newUser();
    const identity = new TestIdentity(user);
    await assert.rejects(
      keys.uploadCrossSigningKeys(user, new TestIdentity(bob).upload, passes),
      fails("M_INVALID_PARAM"),
    );
    const { json } = identity.selfSigningKey;
    const both = signedBy(
      { ...json, usage: ["self_signing", "user_signing"] },
      user,
      identity.master,
    );
    const twice = { publicKey: identity.selfSigning.publicKey, json: both as typeof json };
    await assert.rejects(
      keys.uploadCrossSigningKeys(
        user,
        { master: identity.masterKey, self_signing: twice, user_signing: twice },
        passes,
      ),
      fails("M_INVALID_PARAM"),
    );
    await newDevice(database, user, identity.userSigning.publicKey);
    await assert.rejects(
      keys.uploadCrossSigningKeys(user, identity.upload, passes),
      fails("M_FORBIDDEN"),
    );
    assert.deepEqual([...(await query(user, user)).masterKeys], []);
  });

  test("judges the signatures of own devices on the master key", async () => {
    const user = newUser();
    const device = await newDevice(database, user, "SIGNER");
    await keys.upload(device, { deviceKeys: device.deviceKeys, oneTimeKeys: [], fallbackKeys: [] });
    const { publicKey, json } = new TestIdentity(user).masterKey;
    const imposter = new TestDevice(user, "SIGNER", 1);
    const upload = (key: JsonObject) =>
      keys.uploadCrossSigningKeys(
        user,
        { master: { publicKey, json: key as typeof json } },
        passes,
      );
    await assert.rejects(upload(signedBy(json, user, imposter.key)), fails("M_INVALID_SIGNATURE"));
    const signed = signJson(json, user, device.key);
    await upload(signed);
    assert.deepEqual((await query(bob, user)).masterKeys.get(user), signed);
  });

  test("with a new master key removes what the old one stood for", async () => {
    const user = newUser();
    const identity = new TestIdentity(user);
    const device = await newDevice(database, user, "DEVICE");
    await keys.upload(device, { deviceKeys: device.deviceKeys, oneTimeKeys: [], fallbackKeys: [] });
    await keys.uploadCrossSigningKeys(user, identity.upload, passes);
    await keys.uploadSignatures(
      user,
      new Map([
        [user, new Map([["DEVICE", signedBy(device.deviceKeys, user, identity.selfSigning)]])],
      ]),
    );
    await keys.uploadCrossSigningKeys(
      user,
      { master: new TestIdentity(user, 1).masterKey },
      passes,
    );
    const answer = await query(user, user);
    assert.equal(answer.selfSigningKeys.size, 0);
    assert.equal(answer.userSigningKeys.size, 0);
    assert.deepEqual(answer.deviceKeys.get(user), {
      DEVICE: { ...device.deviceKeys, unsigned: {} },
    });
  });
});

suite("signatures", () => {
  const aliceIdentity = new TestIdentity(alice);
  const bobIdentity = new TestIdentity(bob);
  const phone = new TestDevice(alice, "PHONE");

  test("on own devices, the own master key and others' master keys are published", async () => {
    await newDevice(database, alice, "PHONE");
    await keys.upload(phone, { deviceKeys: phone.deviceKeys, oneTimeKeys: [], fallbackKeys: [] });
    await keys.uploadCrossSigningKeys(alice, aliceIdentity.upload, passes);
    await keys.uploadCrossSigningKeys(bob, bobIdentity.upload, passes);
    const before = stream.position;
    const signed = new Map([
      [
        alice,
        new Map([
          ["PHONE", signedBy(phone.deviceKeys, alice, aliceIdentity.selfSigning)],
          [
            aliceIdentity.master.publicKey,
            signedBy(aliceIdentity.masterKey.json, alice, phone.key),
          ],
        ]),
      ],
      [
        bob,
        new Map([
          [
            bobIdentity.master.publicKey,
            signedBy(bobIdentity.masterKey.json, alice, aliceIdentity.userSigning),
          ],
        ]),
      ],
    ]);
    assert.deepEqual([...(await keys.uploadSignatures(alice, signed))], []);
    assert.deepEqual(
      stream.after(before)?.map(({ kind, userId, data }) => [kind, userId, data]),
      [
        ["device_list", alice, undefined],
        ["device_list", alice, { signed: [bob] }],
      ],
    );
    const again = stream.position;
    await keys.uploadSignatures(alice, signed);
    assert.equal(stream.position, again, "the same signatures are no news");
  });

  test("are seen by those who may: the signer's own, and users' on their own keys", async () => {
    const selfSigned = `ed25519:${aliceIdentity.selfSigning.publicKey}`;
    const userSigned = `ed25519:${aliceIdentity.userSigning.publicKey}`;
    for (const viewer of [alice, bob, "@carol:here.example" as const]) {
      const answer = await query(viewer, alice, bob);
      const device = answer.deviceKeys.get(alice)?.["PHONE"] as JsonObject;
      const onDevice = (device["signatures"] as Record<UserId, JsonObject>)[alice];
      assert.deepEqual(
        Object.keys(onDevice ?? {}).toSorted(),
        [selfSigned, "ed25519:PHONE"].toSorted(),
      );
      const onMaster = answer.masterKeys.get(alice)?.["signatures"] as Record<UserId, JsonObject>;
      assert.deepEqual(Object.keys(onMaster[alice] ?? {}), ["ed25519:PHONE"]);
      const onBob = answer.masterKeys.get(bob)?.["signatures"] as JsonObject | undefined;
      if (viewer === alice) assert.deepEqual(Object.keys(onBob?.[alice] ?? {}), [userSigned]);
      else assert.equal(onBob, undefined, "nobody sees whom others have verified");
      assert.deepEqual(
        [...answer.userSigningKeys.keys()],
        viewer.includes("carol") ? [] : [viewer],
      );
      assert.deepEqual([...answer.selfSigningKeys.keys()].toSorted(), [alice, bob]);
    }
  });

  test("that are bad, or on other keys than those published, fail alone", async () => {
    const forger = new TestIdentity(alice, 7);
    const { publicKey: bobMaster } = bobIdentity.master;
    const extra = { ...phone.deviceKeys, extra: 1 };
    const tries: [UserId, string, JsonObject, string][] = [
      [
        alice,
        "PHONE",
        signedBy(phone.deviceKeys, alice, forger.selfSigning),
        "M_INVALID_SIGNATURE",
      ],
      [
        alice,
        "PHONE",
        signedBy(phone.deviceKeys, bob, aliceIdentity.selfSigning),
        "M_INVALID_SIGNATURE",
      ],
      [alice, "PHONE", signedBy(extra, alice, aliceIdentity.selfSigning), "M_INVALID_PARAM"],
      [
        alice,
        "PHONE",
        signedBy(phone.deviceKeys, alice, aliceIdentity.master),
        "M_INVALID_SIGNATURE",
      ],
      [
        alice,
        "TABLET",
        signedBy(phone.deviceKeys, alice, aliceIdentity.selfSigning),
        "M_NOT_FOUND",
      ],
      [
        bob,
        bobMaster,
        signedBy(bobIdentity.masterKey.json, alice, aliceIdentity.selfSigning),
        "M_INVALID_SIGNATURE",
      ],
      [
        bob,
        bobIdentity.selfSigning.publicKey,
        signedBy(bobIdentity.selfSigningKey.json, alice, aliceIdentity.userSigning),
        "M_NOT_FOUND",
      ],
      [
        "@nobody:here.example",
        bobMaster,
        signedBy(bobIdentity.masterKey.json, alice, aliceIdentity.userSigning),
        "M_NOT_FOUND",
      ],
      [
        remoteUser,
        bobMaster,
        signedBy(bobIdentity.masterKey.json, alice, aliceIdentity.userSigning),
        "M_NOT_FOUND",
      ],
    ];
    for (const [userId, keyId, key, errcode] of tries) {
      const before = stream.position;
      const failures = await keys.uploadSignatures(
        alice,
        new Map([[userId, new Map([[keyId, key]])]]),
      );
      assert.equal(failures.get(userId)?.get(keyId)?.errcode, errcode, `${userId} ${keyId}`);
      assert.equal(stream.position, before);
    }
    const good = signedBy(aliceIdentity.masterKey.json, alice, phone.key);
    const bad = {
      ...phone.deviceKeys,
      signatures: { [alice]: { [`ed25519:${aliceIdentity.selfSigning.publicKey}`]: "AAAA" } },
    };
    const failures = await keys.uploadSignatures(
      alice,
      new Map([
        [
          alice,
          new Map<string, JsonObject>([
            [aliceIdentity.master.publicKey, good],
            ["PHONE", bad],
          ]),
        ],
      ]),
    );
    assert.deepEqual([...(failures.get(alice)?.keys() ?? [])], ["PHONE"]);
  });

  test("on keys of users of other servers are kept for the signer", async () => {
    const rita = new TestIdentity(remoteUser);
    const remote: RemoteKeys = {
      async query(server, users) {
        assert.equal(server, remoteServer);
        assert.deepEqual([...users.keys()], [remoteUser]);
        return {
          deviceKeys: new Map([[remoteUser, { X: {} }]]),
          masterKeys: new Map<UserId, JsonObject>([
            [remoteUser, rita.masterKey.json],
            [bob, new TestIdentity(bob, 9).masterKey.json],
          ]),
          selfSigningKeys: new Map(),
        };
      },
      claim: () => Promise.reject(new Error("not asked")),
    };
    await using asking = await openTestKeys(database, { remote });
    const signed = signedBy(rita.masterKey.json, alice, aliceIdentity.userSigning);
    const upload = new Map([[remoteUser, new Map([[rita.master.publicKey, signed]])]]);
    assert.deepEqual([...(await asking.keys.uploadSignatures(alice, upload))], []);
    const users = new Map<UserId, string[]>([
      [remoteUser, []],
      [bob, []],
    ]);
    const answer = await asking.keys.query(alice, { users, timeoutMs: 1000 });
    assert.deepEqual(answer.masterKeys.get(remoteUser), signed);
    assert.deepEqual(
      answer.masterKeys.get(bob)?.["keys"],
      bobIdentity.masterKey.json["keys"],
      "a server speaks for its own users only",
    );
    const forBob = await asking.keys.query(bob, { users, timeoutMs: 1000 });
    assert.deepEqual(forBob.masterKeys.get(remoteUser), rita.masterKey.json);
  });
});

suite("querying keys", () => {
  test("answers for each user of ours, and names servers that cannot be asked", async () => {
    const answer = await query(alice, "@nobody:here.example", remoteUser);
    assert.deepEqual(Object.fromEntries(answer.deviceKeys), { "@nobody:here.example": {} });
    assert.deepEqual([...answer.failures.keys()], [remoteServer]);
  });

  test("gives the devices that are asked for, or all", async () => {
    const user = newUser();
    for (const deviceId of ["A", "B", "C"]) {
      const device = await newDevice(database, user, deviceId);
      await keys.upload(device, {
        deviceKeys: device.deviceKeys,
        oneTimeKeys: [],
        fallbackKeys: [],
      });
    }
    await newDevice(database, user, "WITHOUT KEYS");
    const devicesOf = async (...deviceIds: string[]) => {
      const users = new Map([[user, deviceIds]]);
      const { deviceKeys } = await keys.query(alice, { users, timeoutMs: 1000 });
      return Object.keys(deviceKeys.get(user) ?? {}).toSorted();
    };
    assert.deepEqual(await devicesOf(), ["A", "B", "C"]);
    assert.deepEqual(await devicesOf("A", "C", "C", "X", "WITHOUT KEYS"), ["A", "C"]);
  });
});
