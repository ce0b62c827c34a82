import assert from "node:assert/strict";
import { after, suite, test } from "node:test";
import { type ErrorCode, MatrixError } from "../../spec/errors.ts";
import type { UserId } from "../../spec/identifiers.ts";
import type { JsonObject } from "../../spec/shape.ts";
import * as devices from "../../storage/devices.ts";
import { openTestDatabase } from "../../storage/testing.ts";
import { addDevice } from "../keys/testing.ts";
import { alice, bob, openTestRooms } from "../rooms/testing.ts";
import { type Messages, ToDevice } from "./to-device.ts";

const database = await openTestDatabase();
const clock = { now: 1_700_000_000_000 };

async function openProcess() {
  const { stream, ...house } = await openTestRooms(database);
  const toDevice = new ToDevice({
    database,
    stream,
    isLocal: (name) => name === "here.example",
    clock: () => clock.now,
    onError(error) {
      throw error;
    },
  });
  return {
    stream,
    toDevice,
    async [Symbol.asyncDispose]() {
      await toDevice[Symbol.asyncDispose]();
      await house[Symbol.asyncDispose]();
    },
  };
}
const { stream, toDevice, ...process } = await openProcess();
after(async () => {
  await process[Symbol.asyncDispose]();
  await database[Symbol.asyncDispose]();
});

const sender = { userId: alice, deviceId: "SENDER" };
let txns = 0;

async function send(messages: Record<UserId, Record<string, JsonObject>>, txnId = `t${txns++}`) {
  await toDevice.send(sender, { type: "org.example", txnId, messages: messagesOf(messages) });
}

function messagesOf(messages: Record<UserId, Record<string, JsonObject>>): Messages {
  return new Map(
    Object.entries(messages).map(([userId, own]) => [
      userId as UserId,
      new Map(Object.entries(own)),
    ]),
  );
}

async function inbox(userId: UserId, deviceId: string, after = 0, limit = 100) {
  const range = { after, upTo: stream.position, limit };
  const found = await toDevice.list(userId, deviceId, range);
  return found.map(({ position, json }) => ({
    position,
    message: JSON.parse(json) as { content: JsonObject },
  }));
}

async function contents(userId: UserId, deviceId: string): Promise<JsonObject[]> {
  return (await inbox(userId, deviceId)).map(({ message }) => message.content);
}

async function queueBytes(userId: UserId, deviceId: string): Promise<number | undefined> {
  const row = await database.db
    .selectFrom("to_device_queues")
    .select("bytes")
    .where("user_id", "=", userId)
    .where("device_id", "=", deviceId)
    .executeTakeFirst();
  return row?.bytes;
}

let users = 0;
async function newUser(...deviceIds: string[]): Promise<UserId> {
  const userId: UserId = `@u${users++}:here.example`;
  for (const deviceId of deviceIds) await addDevice(database, { userId, deviceId });
  return userId;
}

const fails = (errcode: ErrorCode) => (error: unknown) =>
  error instanceof MatrixError && error.errcode === errcode;

suite("sending to devices", () => {
  test("delivers in order, until it is acknowledged", async () => {
    const user = await newUser("A");
    const before = stream.position;
    for (const n of [1, 2, 3]) await send({ [user]: { A: { n, odd: "\u0000\u{1f600}" } } });
    const found = await inbox(user, "A");
    assert.deepEqual(
      found.map(({ message }) => message),
      [1, 2, 3].map((n) => ({
        type: "org.example",
        sender: alice,
        content: { n, odd: "\u0000\u{1f600}" },
      })),
    );
    assert.deepEqual(
      stream
        .after(before)
        ?.map(({ kind, userId, deviceId, position }) => [kind, userId, deviceId, position]),
      found.map(({ position }) => ["to_device", user, "A", position]),
    );
    assert.equal((await inbox(user, "A", 0, 2)).length, 2);
    await toDevice.removeUpTo(user, "A", found[1]?.position ?? 0);
    assert.deepEqual(
      (await contents(user, "A")).map(({ n }) => n),
      [3],
    );
    await toDevice.removeUpTo(user, "A", stream.position);
    assert.equal(await queueBytes(user, "A"), 0);
    await toDevice.removeUpTo(user, "A", stream.position);
    assert.equal(await queueBytes(user, "A"), 0);
  });

  test("reaches all devices of a user by *, and one by its name before that", async () => {
    const user = await newUser("A", "B");
    await send({ [user]: { "*": { to: "all" }, B: { to: "B" } } });
    assert.deepEqual(await contents(user, "A"), [{ to: "all" }]);
    assert.deepEqual(await contents(user, "B"), [{ to: "B" }]);
  });

  test("V076: stores nothing for devices and users that are not there, nor for other servers'", async () => {
    const user = await newUser("A");
    const before = stream.position;
    await send({
      [user]: { NONE: { n: 1 } },
      "@nobody:here.example": { X: { n: 1 }, "*": { n: 1 } },
      "@far:remote.example": { X: { n: 1 }, "*": { n: 1 } },
    });
    assert.equal(stream.position, before);
    const { count } = await database.db
      .selectFrom("to_device")
      .select((column) => column.fn.countAll<number>().as("count"))
      .where("user_id", "in", ["@nobody:here.example", "@far:remote.example"])
      .executeTakeFirstOrThrow();
    assert.equal(count, 0);
  });

  test("V077: refuses a message of more than 64 KiB, and all that came with it", async () => {
    const user = await newUser("A", "B");
    const large = { body: "x".repeat(64 * 1024) };
    await assert.rejects(send({ [user]: { A: { n: 1 }, B: large } }), fails("M_TOO_LARGE"));
    await assert.rejects(send({ [user]: { A: { n: 1 }, NONE: large } }), fails("M_TOO_LARGE"));
    assert.deepEqual(await contents(user, "A"), []);
    await send({ [user]: { A: { body: "x".repeat(65_000) } } });
    assert.equal((await contents(user, "A")).length, 1);
  });

  test("refuses what a full queue cannot take, and passes it over where there are others", async () => {
    const user = await newUser("FULL", "FREE");
    await send({ [user]: { FULL: { n: 1 } } });
    await database.db
      .updateTable("to_device_queues")
      .set({ bytes: 50 * 1024 * 1024 - 100 })
      .where("user_id", "=", user)
      .execute();
    await assert.rejects(
      send({ [user]: { FULL: { body: "x".repeat(100) } } }, "retried"),
      (error) =>
        fails("M_LIMIT_EXCEEDED")(error) &&
        (error as MatrixError).status === 429 &&
        typeof (error as MatrixError).fields["retry_after_ms"] === "number",
    );
    await send({ [user]: { "*": { body: "x".repeat(100) } } });
    assert.equal((await contents(user, "FREE")).length, 1);
    assert.deepEqual(await contents(user, "FULL"), [{ n: 1 }]);
    await toDevice.removeUpTo(user, "FULL", stream.position);
    await database.db
      .updateTable("to_device_queues")
      .set({ bytes: 0 })
      .where("user_id", "=", user)
      .where("device_id", "=", "FULL")
      .execute();
    await send({ [user]: { FULL: { n: 2 } } }, "retried");
    assert.deepEqual(await contents(user, "FULL"), [{ n: 2 }]);
  });

  test("is done once for a transaction ID, whoever repeats it when", async () => {
    const user = await newUser("A");
    await using other = await openProcess();
    const request = {
      type: "org.example",
      txnId: "once",
      messages: messagesOf({ [user]: { A: { n: 1 } } }),
    };
    await Promise.all(
      Array.from({ length: 8 }, (_, i) =>
        (i % 2 ? toDevice : other.toDevice).send(sender, request),
      ),
    );
    await toDevice.send(sender, request);
    await stream.reached(other.stream.position);
    assert.deepEqual(await contents(user, "A"), [{ n: 1 }]);
    await toDevice.send(sender, { ...request, type: "org.example.other" });
    await toDevice.send({ ...sender, deviceId: "OTHER" }, request);
    await toDevice.send({ userId: bob, deviceId: "SENDER" }, request);
    assert.equal((await contents(user, "A")).length, 4);
  });

  test("of nothing to nobody is still done once", async () => {
    const late: UserId = "@late:here.example";
    await send({ [late]: { A: { n: 1 } } }, "early");
    await addDevice(database, { userId: late, deviceId: "A" });
    await send({ [late]: { A: { n: 1 } } }, "early");
    assert.deepEqual(await contents(late, "A"), []);
    await send({}, "empty");
    await Promise.all(Array.from({ length: 4 }, () => send({}, "empty at once")));
  });

  test("counts what waits, however it comes and goes at once", async () => {
    const user = await newUser("A");
    await Promise.all(
      Array.from({ length: 40 }, async (_, i) => {
        await send({ [user]: { A: { n: i } } });
        if (i % 4 === 0) await toDevice.removeUpTo(user, "A", stream.position - 3);
      }),
    );
    const { bytes } = await database.db
      .selectFrom("to_device")
      .select((column) => column.fn.sum<number>("bytes").as("bytes"))
      .where("user_id", "=", user)
      .executeTakeFirstOrThrow();
    assert.equal(await queueBytes(user, "A"), bytes);
  });
});

test("what waits for a device goes with it, and nothing comes after", async () => {
  const user = await newUser("GOING", "STAYING");
  await send({ [user]: { "*": { n: 1 } } });
  await stream.append({
    entries: [{ kind: "device_list", userId: user }],
    write: async (tx) => {
      await devices.remove(tx, user, ["GOING"]);
      await toDevice.removeDevices(tx, user, ["GOING"]);
    },
  });
  await send({ [user]: { "*": { n: 2 }, GOING: { n: 2 } } });
  assert.deepEqual(await contents(user, "GOING"), []);
  assert.equal(await queueBytes(user, "GOING"), undefined);
  assert.equal((await contents(user, "STAYING")).length, 2);
});
