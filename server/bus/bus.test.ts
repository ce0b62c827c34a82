import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { test } from "node:test";
import { silentLog } from "../log.ts";
import { absence, openProxy, until } from "../testing.ts";
import { type Bus, readRange, type StreamRange, writeRange } from "./bus.ts";
import { InProcessBus } from "./in-process-bus.ts";
import { connectNatsBus } from "./nats-bus.ts";

const NATS_URL = process.env["GOMIN_TEST_NATS_URL"] ?? "nats://127.0.0.1:4222";
const NATS_PORT = Number(new URL(NATS_URL).port);
const noNats = await absence("NATS", NATS_URL);
const RANGE: StreamRange = { from: 3, to: 5, origin: "p1", hints: ["!room:a", "@alice:a"] };

/** Two processes on one bus. */
interface Pair extends AsyncDisposable {
  one: Bus;
  two: Bus;
}

async function inProcess(): Promise<Pair> {
  const bus = new InProcessBus((error) => assert.fail(String(error)));
  return { one: bus, two: bus, [Symbol.asyncDispose]: () => bus[Symbol.asyncDispose]() };
}

async function overNats(): Promise<Pair> {
  const options = { url: NATS_URL, serverName: `${randomUUID()}.test`, log: silentLog };
  const one = await connectNatsBus(options);
  const two = await connectNatsBus(options);
  return {
    one,
    two,
    async [Symbol.asyncDispose]() {
      await one[Symbol.asyncDispose]();
      await two[Symbol.asyncDispose]();
    },
  };
}

for (const [name, open, skip] of [
  ["in process", inProcess, false],
  ["over NATS", overNats, noNats],
] as const) {
  test(`${name}: a range reaches all processes, its own included, once`, { skip }, async () => {
    await using pair = await open();
    const heard: [string, StreamRange | undefined][] = [];
    pair.one.subscribe((range) => heard.push(["one", range]));
    pair.two.subscribe((range) => heard.push(["two", range]));
    await until(() => {
      heard.length = 0;
      pair.one.publish(RANGE);
      return () => heard.length >= 2;
    });
    assert.deepEqual(heard.toSorted(), [
      ["one", RANGE],
      ["two", RANGE],
    ]);
  });

  test(
    `${name}: a message reaches those who listen to its topic, until they end`,
    { skip },
    async () => {
      await using pair = await open();
      const heard: string[] = [];
      const end = pair.two.listen("ephemeral wakes", (message) => heard.push(message));
      pair.two.listen("other", () => assert.fail("another topic"));
      await until(() => {
        pair.one.send("ephemeral wakes", "hello");
        return () => heard.length > 0;
      });
      assert.equal(heard[0], "hello");
      end();
      end();
      heard.length = 0;
      const after: string[] = [];
      pair.two.listen("after", (message) => after.push(message));
      pair.one.send("ephemeral wakes", "again");
      await until(() => {
        pair.one.send("after", "x");
        return () => after.length > 0;
      });
      assert.deepEqual(heard, []);
    },
  );

  test(`${name}: ranges of one process arrive in their order`, { skip }, async () => {
    await using pair = await open();
    const heard: number[] = [];
    pair.two.subscribe((range) => heard.push(range?.from ?? -1));
    await until(() => {
      pair.one.publish({ from: 0, to: 1, origin: "p1" });
      return () => heard.length > 0;
    });
    heard.length = 0;
    for (let from = 1; from <= 200; from += 1)
      pair.one.publish({ from, to: from + 1, origin: "p1" });
    await until(() => () => heard.at(-1) === 200);
    assert.deepEqual(
      heard.filter((from) => from > 0),
      Array.from({ length: 200 }, (_, i) => i + 1),
    );
  });
}

test("a subscriber that throws harms neither the publisher nor the other subscribers", async () => {
  const errors: unknown[] = [];
  await using bus = new InProcessBus((error) => errors.push(error));
  const heard: unknown[] = [];
  bus.subscribe(() => {
    throw new Error("mine");
  });
  bus.subscribe((range) => heard.push(range));
  bus.publish(RANGE);
  await until(() => () => heard.length === 1);
  assert.equal(errors.length, 1);
});

test("S29: a range with too many or too long hints is sent without them", () => {
  const many = Array.from({ length: 501 }, (_, i) => `!${i}:a`);
  assert.deepEqual(readRange(writeRange({ ...RANGE, hints: many })), {
    from: 3,
    to: 5,
    origin: "p1",
  });
  assert.equal(readRange(writeRange({ ...RANGE, hints: ["x".repeat(257)] }))?.hints, undefined);
  const large = Array.from({ length: 500 }, () => "x".repeat(256));
  assert.equal(readRange(writeRange({ ...RANGE, hints: large }))?.hints, undefined);
});

test("S29: what is not a range within the bounds is not read", () => {
  const good = { from: 1, to: 2, origin: "p" };
  assert.deepEqual(readRange(JSON.stringify(good)), good);
  for (const bad of [
    "",
    "{",
    "null",
    "[]",
    JSON.stringify({ ...good, from: "1" }),
    JSON.stringify({ ...good, from: -1 }),
    JSON.stringify({ ...good, from: 2 }),
    JSON.stringify({ ...good, to: 2 ** 60 }),
    JSON.stringify({ ...good, to: 1.5 }),
    JSON.stringify({ ...good, origin: "" }),
    JSON.stringify({ ...good, origin: "x".repeat(65) }),
    JSON.stringify({ ...good, hints: "!r:a" }),
    JSON.stringify({ ...good, hints: [1] }),
    JSON.stringify({ ...good, more: "x".repeat(70_000) }),
  ]) {
    assert.equal(readRange(bad), undefined, bad.slice(0, 80));
  }
});

test("a NATS that is not there is named with its setting", async () => {
  await assert.rejects(
    connectNatsBus({ url: "nats://user:secret@127.0.0.1:1", serverName: "a", log: silentLog }),
    (error: Error) =>
      /^nats\.url: .*127\.0\.0\.1:1/.test(error.message) && !/secret/.test(error.message),
  );
});

test(
  "F06: when NATS comes back, every process is told that it may have missed something",
  { skip: noNats },
  async () => {
    const proxy = await openProxy(NATS_PORT);
    const serverName = `${randomUUID()}.test`;
    const url = `nats://127.0.0.1:${proxy.port}`;
    await using behind = await connectNatsBus({ url, serverName, log: silentLog });
    await using direct = await connectNatsBus({ url: NATS_URL, serverName, log: silentLog });
    const heard: string[] = [];
    behind.subscribe((range) => heard.push(range === undefined ? "behind: gap" : "behind: range"));
    direct.subscribe((range) => heard.push(range === undefined ? "direct: gap" : "direct: range"));
    await proxy.cut();
    await until(() => () => !behind.isConnected);
    behind.publish(RANGE);
    await proxy.restore();
    await until(() => () => heard.includes("behind: gap") && heard.includes("direct: gap"));
    assert.equal(
      heard.includes("direct: range"),
      false,
      "what was published meanwhile is not queued",
    );
    heard.length = 0;
    await until(() => {
      behind.publish(RANGE);
      return () => heard.includes("direct: range");
    });
    await proxy.cut();
  },
);
