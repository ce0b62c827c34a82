/** Alice, on two devices, and bob talk in an encrypted room, with matrix-js-sdk. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { EventType, MsgType, RelationType } from "matrix-js-sdk";
import { at } from "../fixtures/json.ts";
import { decryptAttachment, encryptAttachment } from "./attachment.ts";
import { startDevice } from "./device.ts";
import { until } from "./until.ts";
import { startWorld, type World } from "./world.ts";

const stack = new AsyncDisposableStack();
let world: World;
let roomId: string;

before(async () => {
  world = stack.use(await startWorld());
  roomId = await world.alice.createEncryptedRoom([world.bob]);
  await world.aliceLaptop.seesMembers(roomId, [world.alice, world.bob]);
  await world.bob.seesMembers(roomId, [world.alice, world.bob]);
});
after(() => stack.disposeAsync());

test("what alice sends encrypted, bob and her other device can read", async () => {
  const { alice, aliceLaptop, bob } = world;
  const eventId = await alice.say(roomId, "hello, bob");
  assert.equal(await bob.reads(roomId, eventId), "hello, bob");
  assert.equal(await aliceLaptop.reads(roomId, eventId), "hello, bob");

  const stored = await alice.client.fetchRoomEvent(roomId, eventId);
  assert.equal(stored.type, "m.room.encrypted", "the server has the ciphertext alone");
  assert.equal(at(stored, "content", "body"), undefined);
});

test("what bob answers, both of alice's devices can read", async () => {
  const { alice, aliceLaptop, bob } = world;
  const eventId = await bob.say(roomId, "hello, alice");
  assert.equal(await alice.reads(roomId, eventId), "hello, alice");
  assert.equal(await aliceLaptop.reads(roomId, eventId), "hello, alice");
});

test("what alice edits is seen edited", async () => {
  const { alice, bob } = world;
  const eventId = await alice.say(roomId, "see you on Monday");
  await bob.reads(roomId, eventId);
  await alice.client.sendMessage(roomId, {
    msgtype: MsgType.Text,
    body: "* see you on Tuesday",
    "m.new_content": { msgtype: MsgType.Text, body: "see you on Tuesday" },
    "m.relates_to": { rel_type: RelationType.Replace, event_id: eventId },
  });
  await until("bob sees the edit", async () => {
    return (await bob.reads(roomId, eventId)) === "see you on Tuesday";
  });
});

test("bob's reaction is seen below alice's message", async () => {
  const { alice, bob } = world;
  const eventId = await alice.say(roomId, "shall we?");
  await bob.reads(roomId, eventId);
  await bob.client.sendEvent(roomId, EventType.Reaction, {
    "m.relates_to": { rel_type: RelationType.Annotation, event_id: eventId, key: "👍" },
  });
  const reactions = await until("alice sees the reaction", () =>
    alice
      .room(roomId)
      .relations.getChildEventsForEvent(eventId, RelationType.Annotation, EventType.Reaction)
      ?.getSortedAnnotationsByKey(),
  );
  const seen = reactions.map(([key, events]) => [key, [...events].map((e) => e.getSender())]);
  assert.deepEqual(seen, [["👍", [bob.userId]]]);
});

test("bob's reply in a thread makes a thread of alice's message, for her and in its summary", async () => {
  const { alice, bob } = world;
  const rootId = await alice.say(roomId, "which boat?");
  await bob.reads(roomId, rootId);
  const { event_id: replyId } = await bob.client.sendMessage(roomId, rootId, {
    msgtype: MsgType.Text,
    body: "the red one",
    "m.relates_to": {
      rel_type: RelationType.Thread,
      event_id: rootId,
      "m.in_reply_to": { event_id: rootId },
    },
  });
  const thread = await until("alice sees a thread with one reply", () => {
    const found = alice.room(roomId).getThread(rootId);
    return found?.length === 1 && found.replyToEvent?.getId() === replyId && found;
  });
  await until("alice can read the reply", () => {
    return thread.replyToEvent?.getContent()["body"] === "the red one";
  });

  const root = await alice.client.fetchRoomEvent(roomId, rootId);
  const summary = at(root, "unsigned", "m.relations", "m.thread");
  assert.equal(at(summary, "count"), 1);
  assert.equal(at(summary, "current_user_participated"), true, "alice began it");
  assert.equal(at(summary, "latest_event", "event_id"), replyId);
});

test("what alice redacts is gone for bob and from the server", async () => {
  const { alice, bob } = world;
  const eventId = await alice.say(roomId, "a slip of the tongue");
  const seen = await bob.sees(roomId, eventId);
  await alice.client.redactEvent(roomId, eventId, undefined, { reason: "a slip" });
  await until("bob sees it redacted", () => seen.isRedacted());
  assert.deepEqual(seen.getContent(), {});

  const stored = await bob.client.fetchRoomEvent(roomId, eventId);
  assert.deepEqual(stored.content, {});
  assert.equal(at(stored, "unsigned", "redacted_because", "content", "reason"), "a slip");
});

test("a file that alice sends encrypted reaches bob byte for byte", async () => {
  const { alice, bob } = world;
  const file = crypto.getRandomValues(new Uint8Array(50_000));
  const { ciphertext, info } = await encryptAttachment(file);
  const { content_uri: url } = await alice.client.uploadContent(ciphertext, {
    type: "application/octet-stream",
    includeFilename: false,
  });
  const { event_id: eventId } = await alice.client.sendMessage(roomId, {
    msgtype: MsgType.File,
    body: "map.bin",
    filename: "map.bin",
    info: { mimetype: "application/octet-stream", size: file.byteLength },
    file: { ...info, url },
  });

  const shared = (await bob.sees(roomId, eventId)).getContent()["file"] as typeof info & {
    url: string;
  };
  const address = bob.client.mxcUrlToHttp(
    shared.url,
    undefined,
    undefined,
    undefined,
    false,
    true,
    true,
  );
  assert.ok(address !== null);
  const authorization = `Bearer ${bob.client.getAccessToken()}`;
  const response = await fetch(address, { headers: { authorization } });
  assert.equal(response.status, 200);
  const stored = new Uint8Array(await response.arrayBuffer());
  assert.deepEqual(stored, ciphertext, "the server keeps it as it came");
  assert.deepEqual(await decryptAttachment(stored, shared), file);
});

test("a device that bob logs out is gone from what alice knows of him", async () => {
  const { server, alice, bob } = world;
  const other = await server.login(bob.user);
  const tablet = await startDevice(server, other);
  const knows = async (): Promise<boolean> => {
    const devices = await alice.crypto.getUserDeviceInfo([bob.userId]);
    return devices.get(bob.userId)?.has(other.deviceId) === true;
  };
  await until("alice knows bob's tablet", knows);
  await tablet.client.logout(true);
  await until("alice no longer knows bob's tablet", async () => !(await knows()));
});
