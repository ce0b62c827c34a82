import assert from "node:assert/strict";
import { after, suite, test } from "node:test";
import fc from "fast-check";
import type { RoomId, UserId } from "../../spec/identifiers.ts";
import * as deviceLists from "../../storage/device-lists.ts";
import { openTestDatabase } from "../../storage/testing.ts";
import { alice, bob, carol, roomOf } from "../rooms/testing.ts";
import { DeviceLists } from "./device-lists.ts";
import { newDevice, openTestKeys, signedBy, TestDevice, TestIdentity } from "./testing.ts";

const database = await openTestDatabase();
const { keys, stream, rooms, memberships, ...house } = await openTestKeys(database);
after(async () => {
  await house[Symbol.asyncDispose]();
  await database[Symbol.asyncDispose]();
});

const fail = (error: unknown): void => {
  throw error;
};

/** Asks with everything in memory, and again where nothing is, which must come to the same. */
async function changes(userId: UserId, after: number) {
  const upTo = stream.position;
  const { changed, left } = await keys.deviceLists.changes(userId, { after, upTo });
  using forgetful = new DeviceLists({
    database,
    stream,
    memberships: {
      ...memberships,
      async load(id) {
        const user = await memberships.load(id);
        return { ...user, after: () => undefined };
      },
      find: () => undefined,
    },
    onError: fail,
  });
  const stored = await forgetful.changes(userId, { after, upTo });
  assert.deepEqual(stored.changed.toSorted(), changed.toSorted());
  assert.deepEqual(stored.left.toSorted(), left.toSorted());
  return { changed: changed.toSorted(), left: left.toSorted() };
}

async function changeKeys(userId: UserId): Promise<void> {
  const device = await newDevice(database, userId, `D${stream.position}`);
  await keys.upload(device, { deviceKeys: device.deviceKeys, oneTimeKeys: [], fallbackKeys: [] });
}

suite("device lists", () => {
  test("tell of new keys to those who share a room, and to the user", async () => {
    await roomOf(rooms, bob);
    for (const userId of [alice, bob, carol]) await memberships.load(userId);
    const before = stream.position;
    await changeKeys(bob);
    assert.deepEqual(await changes(alice, before), { changed: [bob], left: [] });
    assert.deepEqual(await changes(bob, before), { changed: [bob], left: [] });
    assert.deepEqual(await changes(carol, before), { changed: [], left: [] });
    assert.deepEqual(await changes(alice, stream.position), { changed: [], left: [] });
  });

  test("tell of who begins and who ceases to share a room", async () => {
    const roomId = await roomOf(rooms, bob);
    const before = stream.position;
    await rooms.membership.join({ roomId, sender: carol });
    assert.deepEqual(await changes(alice, before), { changed: [carol], left: [] });
    assert.deepEqual(await changes(carol, before), { changed: [alice, bob], left: [] });
    const joined = stream.position;
    await rooms.membership.kick({ roomId, sender: alice, target: carol });
    assert.deepEqual(await changes(alice, joined), { changed: [], left: [carol] });
    assert.deepEqual(await changes(carol, joined), { changed: [], left: [alice, bob] });
    assert.deepEqual(await changes(carol, before), { changed: [], left: [alice, bob] });
    const gone = stream.position;
    await changeKeys(carol);
    assert.deepEqual(await changes(alice, gone), { changed: [], left: [] });
    await rooms.membership.join({ roomId, sender: carol });
    assert.deepEqual((await changes(alice, gone)).changed, [carol], "what was missed is told");
  });

  test("do not tell of who is still in another room, nor of a new profile, nor of an invite", async () => {
    const one = await roomOf(rooms, bob);
    const dave: UserId = "@dave:here.example";
    const two = await roomOf(rooms, bob, dave);
    const before = stream.position;
    await rooms.membership.leave({ roomId: one, sender: bob });
    await rooms.membership.updateProfile(dave, { displayname: "David" });
    await rooms.membership.invite({ roomId: two, sender: alice, target: "@erin:here.example" });
    assert.deepEqual(await changes(alice, before), { changed: [], left: [] });
  });

  test("do not tell who came to a room that was left", async () => {
    const eve: UserId = "@eve:here.example";
    const frank: UserId = "@frank:here.example";
    const roomId = await roomOf(rooms, eve);
    const before = stream.position;
    await rooms.membership.leave({ roomId, sender: eve });
    await rooms.membership.join({ roomId, sender: frank });
    assert.deepEqual(await changes(eve, before), { changed: [], left: [alice] });
  });

  test("tell a user alone of signatures that nobody else sees", async () => {
    const ann: UserId = "@ann:here.example";
    const ben: UserId = "@ben:here.example";
    await roomOf(rooms, ann, ben);
    const identities = new Map([ann, ben].map((id) => [id, new TestIdentity(id)]));
    for (const [userId, identity] of identities) {
      await keys.uploadCrossSigningKeys(userId, identity.upload, async () => undefined);
    }
    const before = stream.position;
    const { master, masterKey } = identities.get(ben) ?? assert.fail();
    const { userSigning } = identities.get(ann) ?? assert.fail();
    await keys.uploadSignatures(
      ann,
      new Map([[ben, new Map([[master.publicKey, signedBy(masterKey.json, ann, userSigning)]])]]),
    );
    assert.deepEqual(await changes(ann, before), { changed: [ben], left: [] });
    assert.deepEqual(await changes(ben, before), { changed: [], left: [] });
    assert.deepEqual(await changes(alice, before), { changed: [], left: [] });
  });

  test("spare who joins a crowd that is not encrypted", async () => {
    const crowd = await roomOf(rooms);
    const encrypted = await rooms.create({
      creator: alice,
      preset: "public_chat",
      initialState: [
        {
          type: "m.room.encryption",
          state_key: "",
          content: { algorithm: "m.megolm.v1.aes-sha2" },
        },
      ],
    });
    const joiner: UserId = "@joiner:here.example";
    for (const roomId of [crowd, encrypted]) {
      const { rowCount } = await database.pool.query(
        `insert into memberships
         select m.room_nid, '@member' || i || ':here.example', 'join', m.event_nid, m.sender, true, 0, 0, false
         from memberships m join rooms r on r.nid = m.room_nid, generate_series(1, 600) i
         where r.room_id = $1`,
        [roomId],
      );
      assert.equal(rowCount, 600);
    }
    const before = stream.position;
    await rooms.membership.join({ roomId: crowd, sender: joiner });
    assert.deepEqual(await changes(joiner, before), { changed: [], left: [] });
    await rooms.membership.join({ roomId: encrypted, sender: joiner });
    assert.equal((await changes(joiner, before)).changed.length, 601);
  });

  test("wake the active users whom a change of keys concerns, and no others", async () => {
    await roomOf(rooms, bob);
    const stranger: UserId = "@stranger:here.example";
    for (const userId of [alice, bob, stranger]) await memberships.load(userId);
    const woken: UserId[] = [];
    let wake: (() => void) | undefined;
    const isWoken = new Promise<void>((resolve) => (wake = resolve));
    const end = keys.deviceLists.subscribe((userId) => {
      woken.push(userId);
      if (woken.includes(alice) && woken.includes(bob)) wake?.();
    });
    await changeKeys(bob);
    await isWoken;
    end();
    assert.ok(!woken.includes(stranger));
  });

  test("remember further back than memory", async () => {
    using short = new DeviceLists({
      database,
      stream,
      memberships,
      onError: fail,
      keptEntries: 4,
    });
    const before = stream.position;
    const users = Array.from({ length: 10 }, (_, i): UserId => `@u${i}:here.example`);
    await roomOf(rooms, ...users);
    const joined = stream.position;
    for (const userId of users) await changeKeys(userId);
    for (const after of [before, joined, joined + 5, stream.position - 2]) {
      const { changed } = await short.changes(alice, { after, upTo: stream.position });
      const all = await keys.deviceLists.changes(alice, { after, upTo: stream.position });
      assert.deepEqual(changed.toSorted(), all.changed.toSorted());
    }
  });

  test("never miss anybody, nor tell of a stranger, whatever happens", async () => {
    const people = [0, 1, 2, 3].map((i): UserId => `@p${i}:here.example`);
    const places: RoomId[] = [await roomOf(rooms), await roomOf(rooms), await roomOf(rooms)];
    const inside = new Map<RoomId, Set<UserId>>(places.map((id) => [id, new Set<UserId>()]));
    const shares = (a: UserId, b: UserId) =>
      [...inside.values()].some((members) => members.has(a) && members.has(b));
    const step = fc.record({
      who: fc.constantFrom(...people),
      where: fc.constantFrom(...places),
      what: fc.constantFrom("move", "move", "move", "keys", "profile"),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 8 }), async (steps) => {
        const before = stream.position;
        const sharedBefore = new Set(
          people.flatMap((a) => people.filter((b) => shares(a, b)).map((b) => `${a} ${b}`)),
        );
        const movers = new Set<UserId>();
        const changers = new Set<UserId>();
        for (const { who, where, what } of steps) {
          const members = inside.get(where) ?? new Set<UserId>();
          if (what === "keys") {
            changers.add(who);
            await changeKeys(who);
          } else if (what === "profile") {
            await rooms.membership.updateProfile(who, { displayname: `${stream.position}` });
          } else {
            movers.add(who);
            if (members.delete(who)) await rooms.membership.leave({ roomId: where, sender: who });
            else {
              members.add(who);
              await rooms.membership.join({ roomId: where, sender: who });
            }
          }
        }
        for (const reader of people) {
          const upTo = stream.position;
          const told = await keys.deviceLists.changes(reader, { after: before, upTo });
          const alone = new Set(people.filter((id) => id !== reader));
          for (const id of alone) {
            const isSharing = shares(reader, id);
            const wasSharing = sharedBefore.has(`${reader} ${id}`);
            const isChanged = told.changed.includes(id);
            const isLeft = told.left.includes(id);
            if (isSharing && (changers.has(id) || !wasSharing)) assert.ok(isChanged, "changed");
            if (!isSharing) assert.ok(!isChanged, "a stranger");
            if (isSharing) assert.ok(!isLeft, "still there");
            // Who left what the reader had left before is not told: only the reader's rooms count.
            if (!isSharing && wasSharing && !(movers.has(id) && movers.has(reader))) {
              assert.ok(isLeft, "left");
            }
          }
          assert.equal(told.changed.includes(reader), changers.has(reader));
        }
      }),
      { numRuns: 15 },
    );
  });
});

test("a change that no sync was told of is found by SQL", async () => {
  const device = new TestDevice(alice, "X");
  const { positions } = await stream.append({
    entries: [{ kind: "device_list", userId: device.userId }],
    write: (tx, [position = 0]) => keys.noteChange(tx, device.userId, position),
  });
  const [position = 0] = positions;
  assert.deepEqual(await deviceLists.listChanged(database.db, alice, position - 1), [alice]);
  assert.deepEqual(await deviceLists.listChanged(database.db, alice, position), []);
});
