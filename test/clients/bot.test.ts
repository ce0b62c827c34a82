/** A bot that answers, with matrix-bot-sdk, and alice who talks to it. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { MatrixClient } from "matrix-bot-sdk";
import { startServer, type TestServer } from "../fixtures/homeserver.ts";
import { at, textAt } from "../fixtures/json.ts";
import type { TestUser } from "../fixtures/test-user.ts";
import * as sdk from "./bot-sdk.ts";
import { silenceConsole } from "./surroundings.ts";

const stack = new AsyncDisposableStack();
let server: TestServer;
let alice: TestUser;
let bot: TestUser;
let client: MatrixClient;

before(async () => {
  silenceConsole();
  server = stack.use(await startServer());
  alice = await server.register("alice");
  bot = await server.register("bot");
  client = new sdk.MatrixClient(server.baseUrl, bot.accessToken, new sdk.MemoryStorageProvider());
  sdk.AutojoinRoomsMixin.setupOnClient(client);
  client.on("room.message", (roomId: string, event: unknown) => {
    void answerPing(roomId, event);
  });
  await client.start();
  stack.defer(() => client.stop());
});
after(() => stack.disposeAsync());

test("a bot joins where it is invited, and answers alice there", async () => {
  const invited = new Promise<string>((resolve) => client.once("room.invite", resolve));
  const roomId = await alice.createRoom({ invite: [bot.userId] });
  assert.equal(await invited, roomId);
  await alice.waitForEvent(
    roomId,
    ({ type, state_key: target, content }) =>
      type === "m.room.member" && target === bot.userId && at(content, "membership") === "join",
  );

  const question = await alice.send(roomId, "!ping");
  const answer = await alice.waitForEvent(roomId, ({ sender, content }) => {
    return sender === bot.userId && at(content, "msgtype") === "m.notice";
  });
  assert.match(textAt(answer, "content", "body"), /pong$/);
  assert.equal(at(answer, "content", "m.relates_to", "m.in_reply_to", "event_id"), question);
});

test("the bot knows who it is and where it is", async () => {
  assert.equal(await client.getUserId(), bot.userId);
  const [roomId] = await client.getJoinedRooms();
  assert.ok(roomId !== undefined);
  const members = await client.getJoinedRoomMembers(roomId);
  assert.deepEqual(members.sort(), [alice.userId, bot.userId]);
});

async function answerPing(roomId: string, event: unknown): Promise<void> {
  if (at(event, "content", "body") === "!ping") await client.replyNotice(roomId, event, "pong");
}
