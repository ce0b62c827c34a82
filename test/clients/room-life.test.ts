/** What alice and bob notice of each other in a room that is not encrypted, with matrix-js-sdk. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { MsgType, NotificationCountType, Preset, SetPresence } from "matrix-js-sdk";
import { type Device, startDevice } from "./device.ts";
import { until } from "./until.ts";
import { startWorld, type World } from "./world.ts";

const stack = new AsyncDisposableStack();
let world: World;
let roomId: string;

before(async () => {
  world = stack.use(await startWorld());
  const { alice, bob } = world;
  const created = await alice.client.createRoom({ name: "the boat", preset: Preset.PrivateChat });
  roomId = created.room_id;
  await alice.client.invite(roomId, bob.userId);
  await bob.acceptInvite(roomId);
  for (const device of [alice, world.aliceLaptop, bob]) {
    await device.seesMembers(roomId, [alice, bob]);
  }
});
after(() => stack.disposeAsync());

test("bob sees that alice is typing, and that she stops", async () => {
  const { alice, bob } = world;
  const isTyping = (): boolean => bob.room(roomId).getMember(alice.userId)?.typing === true;
  await alice.client.sendTyping(roomId, true, 20_000);
  await until("alice is typing", isTyping);
  await alice.client.sendTyping(roomId, false, 0);
  await until("alice has stopped", () => !isTyping());
});

test("alice sees how far bob has read", async () => {
  const { alice, bob } = world;
  const eventId = await alice.say(roomId, "have you read this?");
  await bob.client.sendReadReceipt(await bob.sees(roomId, eventId));
  await until("alice sees the receipt", () => {
    return alice.room(roomId).getEventReadUpTo(bob.userId, true) === eventId;
  });
});

test("bob sees alice's presence change", async () => {
  const { alice, bob } = world;
  const seen = () => bob.client.getUser(alice.userId);
  await alice.client.setPresence({ presence: "online", status_msg: "at the sea" });
  await until("alice is online, at the sea", () => {
    return seen()?.presence === "online" && seen()?.presenceStatusMsg === "at the sea";
  });
  // Her other device goes on syncing, and would keep her online.
  await world.aliceLaptop.client.setSyncPresence(SetPresence.Offline);
  await alice.client.setSyncPresence(SetPresence.Unavailable);
  await alice.client.setPresence({ presence: "unavailable" });
  await until("alice is unavailable", () => seen()?.presence === "unavailable");
});

test("unread counts go up with what alice writes, and down on each device where bob reads one", async () => {
  const { server, alice, bob } = world;
  await using tablet = await startDevice(server, await server.login(bob.user));
  const both = [bob, tablet];
  const first = await alice.say(roomId, "one");
  await bob.client.sendReadReceipt(await bob.sees(roomId, first));
  await untilUnread(both, { total: 0, highlight: 0 });

  await alice.say(roomId, "two");
  const { event_id: last } = await alice.client.sendMessage(roomId, {
    msgtype: MsgType.Text,
    body: "three, bob",
    "m.mentions": { user_ids: [bob.userId] },
  });
  await untilUnread(both, { total: 2, highlight: 1 });

  await bob.client.sendReadReceipt(await bob.sees(roomId, last));
  await untilUnread(both, { total: 0, highlight: 0 });
});

test("a new name of the room is seen", async () => {
  const { alice, bob } = world;
  await alice.client.setRoomName(roomId, "the red boat");
  await until("bob sees the name", () => bob.room(roomId).name === "the red boat");
});

test("alice sees bob refuse an invite, accept one, and leave", async () => {
  const { alice, bob } = world;
  const { room_id: other } = await alice.client.createRoom({
    name: "the harbour",
    invite: [bob.userId],
  });
  const seen = () => alice.client.getRoom(other)?.getMember(bob.userId)?.membership;
  await until("bob is invited", () => bob.membership(other) === "invite");
  assert.equal(bob.room(other).name, "the harbour", "an invite tells the name");
  await until("alice sees the invite", () => seen() === "invite");
  await bob.client.leave(other);
  await until("alice sees it refused", () => seen() === "leave");
  await alice.client.invite(other, bob.userId);
  await bob.acceptInvite(other);
  await until("alice sees bob join", () => seen() === "join");
  await bob.client.leave(other);
  await until("alice sees bob leave", () => seen() === "leave");
  await until("bob is out", () => bob.membership(other) === "leave");
});

async function untilUnread(
  devices: Device[],
  { total, highlight }: { total: number; highlight: number },
): Promise<void> {
  for (const { deviceId, client } of devices) {
    await until(`${deviceId} counts ${total} unread, ${highlight} of them highlighted`, () => {
      const room = client.getRoom(roomId);
      return (
        room?.getUnreadNotificationCount(NotificationCountType.Total) === total &&
        room.getUnreadNotificationCount(NotificationCountType.Highlight) === highlight
      );
    });
  }
}
