import assert from "node:assert/strict";
import { after, before, suite, test } from "node:test";
import fc from "fast-check";
import type { UserId } from "../../spec/identifiers.ts";
import { readSyncToken, type SyncToken, writeSyncToken } from "./sync-tokens.ts";
import { at, bodies, openTestHouse, type TestHouse } from "./testing.ts";

const alice: UserId = "@alice:gomin.test";
const number = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER });
const mark = fc.record(
  { run: fc.stringMatching(/^[0-9a-f]{1,8}$/), version: number },
  { noNullPrototype: true },
);
const token: fc.Arbitrary<SyncToken> = fc.record(
  { epoch: number, position: number, typing: mark, presence: mark, toDevice: number },
  { requiredKeys: ["epoch", "position", "typing", "presence"], noNullPrototype: true },
);

let house: TestHouse;
before(async () => {
  house = await openTestHouse();
});
after(async () => {
  await house[Symbol.asyncDispose]();
});

suite("tokens", () => {
  test("read back as they were written", () => {
    fc.assert(fc.property(token, (of) => assert.deepEqual(readSyncToken(writeSyncToken(of)), of)));
  });

  test("V155: what is no token is refused as M_INVALID_PARAM", async () => {
    const odd = fc.oneof(
      fc.string({ minLength: 1 }),
      fc.constantFrom("s", "s1", "-1", "s-1_-1_0.0_0.0", "s1_2_3", "t5_0", "1234", "s1_1_0.0_0.0_"),
    );
    await fc.assert(
      fc.asyncProperty(odd, async (since) => {
        await assert.rejects(house.answer(alice, { since }), { errcode: "M_INVALID_PARAM" });
      }),
      { numRuns: 50 },
    );
  });

  test("V155: a token from the future is refused", async () => {
    const { next_batch: since } = await house.answer(alice);
    const read = readSyncToken(since);
    for (const position of [read.position + 1, read.position + 1e9, 2 ** 52]) {
      const future = writeSyncToken({ ...read, position });
      await assert.rejects(house.answer(alice, { since: future }), { errcode: "M_INVALID_PARAM" });
    }
  });

  test("V155: a token of another epoch, from before a restore, brings everything", async () => {
    const roomId = await house.rooms.create({ creator: alice });
    await house.send(roomId, alice, "hello");
    const { next_batch: since } = await house.answer(alice);
    const read = readSyncToken(since);
    const foreign = writeSyncToken({ ...read, epoch: read.epoch - 1, position: 2 ** 40 });
    const answer = await house.answer(alice, { since: foreign, timeoutMs: 60_000 });
    assert.deepEqual(bodies(answer, roomId), ["hello"]);
    assert.equal(readSyncToken(answer.next_batch).epoch, read.epoch);
  });

  test("a token of another process's newer position is waited for", async () => {
    await using other = await openTestHouse({ beside: house, stream: { pollMs: 60_000 } });
    const roomId = await house.rooms.create({ creator: alice });
    const { next_batch: since } = await house.answer(alice);
    await house.send(roomId, alice, "hello");
    const { next_batch: newer } = await house.answer(alice, { since });
    const answer = await other.answer(alice, { since: newer });
    assert.deepEqual(at(answer, "rooms", "join"), {});
  });

  test("an ephemeral part of another run does no harm", async () => {
    const { next_batch: since } = await house.answer(alice);
    const read = readSyncToken(since);
    const lost = { run: "abc", version: 99 };
    const answer = await house.answer(alice, {
      since: writeSyncToken({ ...read, typing: lost, presence: lost }),
    });
    assert.deepEqual(at(answer, "rooms", "join"), {});
    assert.deepEqual(readSyncToken(answer.next_batch).typing, read.typing);
  });
});
