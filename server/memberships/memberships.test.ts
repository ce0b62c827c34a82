import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { UserId } from "../../spec/identifiers.ts";
import { openTestHouse, type TestHouse } from "../sync/testing.ts";
import { openMemberships } from "./memberships.ts";

const alice: UserId = "@alice:gomin.test";

let house: TestHouse;
let count = 0;
before(async () => {
  house = await openTestHouse({ logEntries: 10 });
});
after(async () => {
  await house[Symbol.asyncDispose]();
});

function newUser(): UserId {
  return `@user${++count}:gomin.test`;
}

test("memberships that were read follow the stream", async () => {
  const { rooms, memberships } = house;
  const bob = newUser();
  const roomId = await rooms.create({ creator: alice, preset: "public_chat", invite: [bob] });
  const user = await memberships.load(bob);
  const invite = user.rooms.get(roomId);
  assert.equal(invite?.membership, "invite");
  assert.equal(invite.sender, alice);
  await rooms.membership.join({ roomId, sender: bob });
  const join = user.rooms.get(roomId);
  assert.equal(join?.membership, "join");
  assert.ok(join.since > invite.since && join.since === join.position);
  await rooms.membership.updateProfile(bob, { displayname: "Bob" });
  const profile = user.rooms.get(roomId);
  assert.equal(profile?.since, join.since);
  assert.ok(profile.position > join.position);
  await rooms.membership.leave({ roomId, sender: bob });
  await rooms.membership.forget(roomId, bob);
  assert.equal(user.rooms.get(roomId)?.membership, "leave");
  assert.equal(user.rooms.get(roomId)?.isForgotten, true);
  await rooms.membership.join({ roomId, sender: bob });
  assert.equal(user.rooms.get(roomId)?.isForgotten, false);
  assert.equal(await memberships.load(bob), user);
});

test("what changes while memberships are read is not lost", async () => {
  const { rooms } = house;
  const bob = newUser();
  const made = await Promise.all(
    Array.from({ length: 10 }, () => rooms.create({ creator: alice, preset: "public_chat" })),
  );
  for (const roomId of made) {
    using memberships = openMemberships({ database: house.database, stream: house.stream });
    const loading = memberships.load(bob);
    const joining = rooms.membership.join({ roomId, sender: bob });
    const [user, again] = await Promise.all([loading, memberships.load(bob)]);
    await joining;
    assert.equal(user, again);
    assert.ok(user.isJoined(roomId));
    assert.ok([...memberships.joinedIn(roomId)].includes(user));
  }
});

test("an index leads from rooms to active members, who share them", async () => {
  const { rooms, memberships } = house;
  const [bob, carol] = [newUser(), newUser()];
  const roomId = await rooms.create({ creator: bob, preset: "public_chat" });
  const [b, c] = await Promise.all([memberships.load(bob), memberships.load(carol)]);
  assert.deepEqual([...memberships.joinedIn(roomId)], [b]);
  assert.equal(memberships.shareRoom(b, c), false);
  await rooms.membership.join({ roomId, sender: carol });
  assert.deepEqual(new Set(memberships.joinedIn(roomId)), new Set([b, c]));
  assert.equal(memberships.shareRoom(b, c), true);
  assert.deepEqual(memberships.sharing(b), new Set([b, c]));
  await rooms.membership.ban({ roomId, sender: bob, target: carol });
  assert.deepEqual([...memberships.joinedIn(roomId)], [b]);
  assert.equal(memberships.shareRoom(c, b), false);
  assert.equal(memberships.shareRoom(c, c), true);
});

test("a user's log holds what concerns the user, as far as it goes back", async () => {
  const { rooms, memberships, stream } = house;
  const bob = newUser();
  const roomId = await rooms.create({ creator: alice, preset: "public_chat" });
  const other = await rooms.create({ creator: alice, preset: "public_chat" });
  const user = await memberships.load(bob);
  const start = stream.position;
  const heard: number[] = [];
  const unsubscribe = user.subscribe(({ position }) => heard.push(position));
  await house.send(roomId, alice, "before the join");
  await rooms.membership.join({ roomId, sender: bob });
  const eventId = await house.send(roomId, alice, "for bob");
  await house.send(other, alice, "elsewhere");
  await house.setReceipt({ roomId, userId: alice, type: "m.read", eventId });
  await house.setReceipt({ roomId, userId: alice, type: "m.read.private", eventId });
  await house.setReceipt({ roomId, userId: bob, type: "m.read.private", eventId });
  await house.setAccountData(bob, "m.direct", {});
  await house.setAccountData(alice, "m.direct", {});
  const kinds = user.after(start)?.map(({ kind }) => kind);
  assert.deepEqual(kinds, ["event", "event", "receipt", "receipt", "account_data"]);
  assert.deepEqual(
    heard,
    user.after(start)?.map(({ position }) => position),
  );
  assert.deepEqual(user.after(heard[2] ?? 0)?.length, 2);
  assert.equal(user.after(start - 1), undefined);
  unsubscribe();
  for (let i = 0; i < 30; i++) await house.send(roomId, alice, `m${i}`);
  assert.equal(user.after(start), undefined);
  assert.equal(heard.length, 5);
  assert.ok((user.after(stream.position - 5)?.length ?? 0) === 5);
});

test("users whom nobody listens to are forgotten where there are too many", async () => {
  const { rooms } = house;
  const users = Array.from({ length: 6 }, newUser);
  const roomId = await rooms.create({ creator: alice, preset: "public_chat" });
  for (const sender of users) await rooms.membership.join({ roomId, sender });
  using memberships = openMemberships({
    database: house.database,
    stream: house.stream,
    maxMemberships: 8,
  });
  const [first = alice, second = alice] = users;
  const unsubscribe = (await memberships.load(first)).subscribe(() => undefined);
  for (const userId of users.slice(1)) await memberships.load(userId);
  assert.ok(memberships.find(first) !== undefined);
  assert.equal(memberships.find(second), undefined);
  assert.ok([...memberships.joinedIn(roomId)].length <= 4);
  assert.ok((await memberships.load(second)).isJoined(roomId));
  unsubscribe();
});
