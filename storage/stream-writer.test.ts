import assert from "node:assert/strict";
import { after, test } from "node:test";
import type { RoomId, UserId } from "../spec/identifiers.ts";
import * as events from "./events.ts";
import { type NewEvent } from "./event-rows.ts";
import { openNids } from "./nids.ts";
import * as rooms from "./rooms.ts";
import * as stream from "./stream.ts";
import {
  type Committed,
  ConflictError,
  openStreamWriter,
  type StreamWriter,
} from "./stream-writer.ts";
import { openTestDatabase } from "./testing.ts";

const alice: UserId = "@alice:here.example";
const database = await openTestDatabase();
const writers: StreamWriter[] = [];
after(async () => {
  for (const writer of writers) await writer[Symbol.asyncDispose]();
  await database[Symbol.asyncDispose]();
});

function setUp() {
  const commits: Committed[] = [];
  const writer = openStreamWriter(database, (committed) => commits.push(committed));
  writers.push(writer);
  return { writer, commits, nids: openNids(database) };
}

function message(nid: number, roomNid: number, entry: number | undefined = 0): NewEvent {
  return {
    entry,
    nid,
    eventId: `$event${nid}`,
    roomNid,
    type: "m.room.message",
    stateKey: undefined,
    sender: alice,
    originServerTs: 1,
    depth: 1,
    snapshotBefore: 1,
    snapshotAfter: 1,
    relatesTo: undefined,
    relType: undefined,
    containsUrl: false,
    json: `{"content":{"body":"quote \\" and backslash \\\\ and \\u0000"}}`,
  };
}

async function newRoom(writer: ReturnType<typeof setUp>["writer"], nid: number): Promise<RoomId> {
  const roomId: RoomId = `!room${nid}`;
  await writer.append({
    entries: [{ kind: "event", roomId, eventNid: nid }],
    rows: {
      rooms: [
        {
          nid,
          roomId,
          roomVersion: "12",
          creator: alice,
          headVersion: 1,
          forwardExtremities: [nid],
          snapshotNid: nid,
          depth: 1,
          isPublished: false,
          createdTs: 1,
        },
      ],
      events: [message(nid, nid)],
    },
  });
  return roomId;
}

test("positions have no gap, and each commit is told of in order", async () => {
  const { writer, commits } = setUp();
  const before = await stream.head(database.db);
  const appended = await Promise.all(
    Array.from({ length: 500 }, (_, i) =>
      writer.append({ entries: [{ kind: "profile", userId: alice, data: { i } }] }),
    ),
  );
  const positions = appended.flatMap((a) => a.positions);
  assert.deepEqual(
    positions,
    Array.from({ length: 500 }, (_, i) => before.position + i + 1),
  );
  assert.ok(commits.length < 50, "they were committed in groups");
  for (const [i, commit] of commits.entries()) {
    assert.equal(commit.from, i === 0 ? before.position : commits[i - 1]?.to);
  }
  const rows = await stream.range(database.db, before.position, before.position + 500);
  assert.deepEqual(
    rows.map((row) => row.data?.["i"]),
    Array.from({ length: 500 }, (_, i) => i),
  );
});

test("a unit that fails fails alone", async () => {
  const { writer } = setUp();
  const results = await Promise.allSettled(
    Array.from({ length: 20 }, (_, i) =>
      writer.append({
        entries: [{ kind: "profile", userId: alice, data: { i } }],
        write: async () => {
          if (i === 7) throw new Error("seven");
        },
      }),
    ),
  );
  assert.deepEqual(
    results.flatMap((r, i) => (r.status === "rejected" ? [i] : [])),
    [7],
  );
  const { position } = await stream.head(database.db);
  const rows = await stream.range(database.db, position - 19, position);
  assert.deepEqual(
    rows.map((row) => row.data?.["i"]),
    Array.from({ length: 20 }, (_, i) => i).filter((i) => i !== 7),
  );
});

test("what a unit writes is in the transaction of its entries", async () => {
  const { writer } = setUp();
  const { positions } = await writer.append({
    entries: [{ kind: "profile", userId: alice }],
    write: (tx, [position]) => stream.putCursor(tx, "test", position ?? 0),
  });
  assert.equal(await stream.findCursor(database.db, "test"), positions[0]);
  await assert.rejects(
    writer.append({
      entries: [{ kind: "profile", userId: alice }],
      write: async (tx) => {
        await stream.putCursor(tx, "test", 0);
        throw new Error("no");
      },
    }),
    /^Error: no$/,
  );
  assert.equal(await stream.findCursor(database.db, "test"), positions[0]);
});

test("a head that moved refuses what was built on the old one, and keeps the rest of the batch", async () => {
  const { writer, nids } = setUp();
  const nid = await nids.next();
  const roomId = await newRoom(writer, nid);
  const send = async (fromVersion: number) => {
    const eventNid = await nids.next();
    await writer.append({
      entries: [{ kind: "event", roomId, eventNid }],
      rows: {
        events: [message(eventNid, nid)],
        heads: [
          {
            nid,
            fromVersion,
            toVersion: fromVersion + 1,
            forwardExtremities: [eventNid],
            snapshotNid: nid,
            depth: 2,
          },
        ],
      },
    });
  };
  const results = await Promise.allSettled([send(1), send(2), send(2), send(3), send(9)]);
  assert.deepEqual(
    results.map((r) => r.status),
    ["fulfilled", "fulfilled", "rejected", "fulfilled", "rejected"],
  );
  for (const result of results) {
    if (result.status === "rejected") assert.ok(result.reason instanceof ConflictError);
  }
  assert.equal((await rooms.findRoom(database.db, roomId))?.head_version, 4);
});

test("an event reads back as it was written", async () => {
  const { writer, nids } = setUp();
  const nid = await nids.next();
  await newRoom(writer, nid);
  const found = await events.findById(database.db, `$event${nid}`);
  assert.equal(found?.json, message(nid, nid).json);
  assert.equal(found?.position, found?.order?.position);
  const page = await events.timeline(database.db, nid, "backward", {}, 10);
  assert.deepEqual(
    page.map((e) => e.eventId),
    [`$event${nid}`],
  );
});

test("an event redacted in the batch that brings it is redacted", async () => {
  const { writer, nids } = setUp();
  const nid = await nids.next();
  const roomId = await newRoom(writer, nid);
  const [first, second] = await nids.take(2);
  assert.ok(first !== undefined && second !== undefined);
  await writer.append({
    entries: [
      { kind: "event", roomId, eventNid: first },
      { kind: "event", roomId, eventNid: second },
    ],
    rows: {
      events: [message(first, nid), message(second, nid, 1)],
      redactions: [
        { eventId: `$event${first}`, roomNid: nid, redactedBy: `$event${second}` },
        { eventId: `$event${nid}`, roomNid: nid, redactedBy: `$event${second}` },
        { eventId: `$event${nid}`, roomNid: 1, redactedBy: "$elsewhere" },
      ],
    },
  });
  for (const redacted of [first, nid]) {
    assert.equal(
      (await events.findById(database.db, `$event${redacted}`))?.redactedBy,
      `$event${second}`,
    );
  }
});
