import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { connect } from "node:net";
import { test } from "node:test";
import { silentLog } from "../log.ts";
import { absence, openProxy, until } from "../testing.ts";
import { type EphemeralStore, EphemeralUnavailable, type TopicChange } from "./ephemeral.ts";
import { InProcessStore } from "./in-process-store.ts";
import { connectRedisStore } from "./redis-store.ts";

const REDIS_URL = process.env["GOMIN_TEST_REDIS_URL"] ?? "redis://127.0.0.1:6379";
const noRedis = await absence("Redis", REDIS_URL);

async function inProcess(): Promise<EphemeralStore> {
  return new InProcessStore({ onError: (error) => assert.fail(String(error)) });
}

function inRedis(serverName = `${randomUUID()}.test`) {
  return connectRedisStore({ url: REDIS_URL, serverName, log: silentLog });
}

for (const [name, open, skip] of [
  ["in process", inProcess, false],
  ["in Redis", () => inRedis(), noRedis],
] as const) {
  test(`${name}: a value is there until it is removed or its time is over`, { skip }, async () => {
    await using store = await open();
    assert.equal(await store.get("k"), undefined);
    await store.put("k", "one\u0000|é");
    assert.equal(await store.get("k"), "one\u0000|é");
    await store.put("__proto__", "p", { ttlMs: 60_000 });
    assert.deepEqual(await store.getMany(["k", "none", "__proto__"]), [
      "one\u0000|é",
      undefined,
      "p",
    ]);
    assert.deepEqual(await store.getMany([]), []);
    await store.put("k", "short", { ttlMs: 20 });
    await until(() => async () => (await store.get("k")) === undefined);
    await store.remove("__proto__");
    assert.equal(await store.get("__proto__"), undefined);
  });

  test(`${name}: each member of a hash has its own end`, { skip }, async () => {
    await using store = await open();
    assert.equal((await store.members("!r:a")).size, 0);
    await store.putMember("!r:a", "@alice:a", "a|1");
    await store.putMember("!r:a", "@bob:a", "b", { ttlMs: 30 });
    await store.putMember("!r:a", "@carol:a", "c", { ttlMs: 30 });
    assert.deepEqual([...(await store.members("!r:a"))].toSorted(), [
      ["@alice:a", "a|1"],
      ["@bob:a", "b"],
      ["@carol:a", "c"],
    ]);
    await store.putMember("!r:a", "@carol:a", "c", { ttlMs: 60_000 });
    await until(() => async () => (await store.members("!r:a")).size === 2);
    await store.removeMember("!r:a", "@carol:a");
    assert.deepEqual([...(await store.members("!r:a"))], [["@alice:a", "a|1"]]);
    await store.remove("!r:a");
    assert.equal((await store.members("!r:a")).size, 0);
  });

  test(
    `${name}: a topic's version grows when what is read changes, and only then`,
    { skip },
    async () => {
      await using store = await open();
      const start = await store.position("typing");
      assert.equal(start.version, 0);
      const topic = "typing";
      await store.putMember("!r:a", "@alice:a", "1", { topic, ttlMs: 60_000 });
      await store.putMember("!r:a", "@alice:a", "1", { topic, ttlMs: 90_000 });
      assert.equal((await store.position(topic)).version, 1);
      await store.putMember("!r:a", "@bob:a", "1", { topic });
      await store.removeMember("!r:a", "@bob:a", { topic });
      await store.removeMember("!r:a", "@bob:a", { topic });
      assert.equal((await store.position(topic)).version, 3);
      await store.put("@alice:a", "online", { topic: "presence" });
      await store.put("@alice:a", "online", { topic: "presence" });
      await store.put("@alice:a", "away", { topic: "presence" });
      await store.remove("@alice:a", { topic: "presence" });
      await store.remove("@alice:a", { topic: "presence" });
      assert.equal((await store.position("presence")).version, 3);
      assert.deepEqual(await store.touch(topic, "!s:a"), { ...start, version: 4 });
      await store.remove("!r:a", { topic });
      assert.equal((await store.position(topic)).version, 5);
    },
  );

  test(`${name}: the end of a life is a change`, { skip }, async () => {
    await using store = await open();
    const topic = "typing";
    await store.putMember("!r:a", "@alice:a", "1", { topic, ttlMs: 40 });
    await store.put("@alice:a", "online", { topic, ttlMs: 40 });
    await until(() => async () => (await store.position(topic)).version === 4);
    assert.equal((await store.members("!r:a")).size, 0);
    await store.put("@alice:a", "online", { topic, ttlMs: 40 });
    await store.put("@alice:a", "online", { topic, ttlMs: 60_000 });
    await store.putMember("!r:a", "@alice:a", "1", { topic, ttlMs: 40 });
    await store.putMember("!r:a", "@alice:a", "1", { topic });
    await new Promise((resolve) => setTimeout(resolve, 600));
    assert.equal((await store.position(topic)).version, 6, "a life that was prolonged goes on");
  });

  test(
    `${name}: a reader learns which keys changed since a position, each once`,
    { skip },
    async () => {
      await using store = await open();
      const start = await store.position("typing");
      assert.deepEqual(await store.changesAfter("typing", start), { position: start, keys: [] });
      for (const key of ["!a", "!b", "!a"]) await store.touch("typing", key);
      await store.touch("presence", "@x:a");
      const all = await store.changesAfter("typing", start);
      assert.deepEqual(all, { position: { ...start, version: 3 }, keys: ["!b", "!a"] });
      const last = await store.changesAfter("typing", { ...start, version: 2 });
      assert.deepEqual(last?.keys, ["!a"]);
    },
  );

  test(
    `${name}: a position of another run, or of the future, is answered with everything`,
    { skip },
    async () => {
      await using store = await open();
      const position = await store.touch("typing", "!a");
      assert.equal(await store.changesAfter("typing", { ...position, runId: "other" }), undefined);
      assert.equal(await store.changesAfter("typing", { ...position, version: 2 }), undefined);
    },
  );

  test(
    `${name}: changes that are long past are forgotten, and that is told`,
    { skip },
    async () => {
      await using store = await open();
      const start = await store.position("typing");
      const touches: Promise<unknown>[] = [];
      for (let i = 0; i < 10_005; i += 1) touches.push(store.touch("typing", `!${i}:a`));
      await Promise.all(touches);
      assert.equal(await store.changesAfter("typing", start), undefined);
      const known = await store.changesAfter("typing", { ...start, version: 5 });
      assert.equal(known?.keys.length, 10_000);
    },
  );

  test(`${name}: a bucket gives its burst, then its rate`, { skip }, async () => {
    await using store = await open();
    const bucket = { perSecond: 20, burst: 3 };
    for (let i = 0; i < 3; i += 1) {
      assert.deepEqual(await store.takeTokens("k", bucket), { allowed: true, retryAfterMs: 0 });
    }
    const refused = await store.takeTokens("k", bucket);
    assert.equal(refused.allowed, false);
    assert.ok(refused.retryAfterMs > 0 && refused.retryAfterMs <= 50, String(refused.retryAfterMs));
    assert.equal((await store.takeTokens("other", bucket)).allowed, true);
    await until(() => async () => (await store.takeTokens("k", bucket)).allowed);
    assert.deepEqual(await store.takeTokens("closed", { perSecond: 0, burst: 0 }), {
      allowed: false,
      retryAfterMs: Infinity,
    });
  });

  test(`${name}: 64 who take at once get no more than the bucket holds`, { skip }, async () => {
    await using store = await open();
    const bucket = { perSecond: 0.001, burst: 10 };
    const answers = await Promise.all(
      Array.from({ length: 64 }, () => store.takeTokens("k", bucket, 2)),
    );
    assert.equal(answers.filter(({ allowed }) => allowed).length, 5);
  });

  test(`${name}: subscribers hear each change in order`, { skip }, async () => {
    await using store = await open();
    const heard: TopicChange[] = [];
    const end = store.subscribe((change) => {
      if (change !== undefined) heard.push(change);
    });
    const { runId } = await store.touch("typing", "!0:a");
    for (let i = 1; i < 5; i += 1) await store.touch("typing", `!${i}:a`);
    await until(() => () => heard.length === 5);
    assert.deepEqual(
      heard,
      [0, 1, 2, 3, 4].map((i) => ({ topic: "typing", key: `!${i}:a`, runId, version: i + 1 })),
    );
    end();
    await store.touch("typing", "!5:a");
    await new Promise((resolve) => setTimeout(resolve, 20));
    assert.equal(heard.length, 5);
  });
}

test("two processes on one Redis see and hear each other's writes", { skip: noRedis }, async () => {
  const serverName = `${randomUUID()}.test`;
  await using one = await inRedis(serverName);
  await using two = await inRedis(serverName);
  const heard: (string | undefined)[] = [];
  two.subscribe((change) => heard.push(change?.key));
  await one.putMember("!r:a", "@alice:a", "1", { topic: "typing" });
  await until(() => () => heard.includes("!r:a"));
  assert.deepEqual([...(await two.members("!r:a"))], [["@alice:a", "1"]]);
  assert.deepEqual(await one.position("typing"), await two.position("typing"));
});

test("homeservers that share a Redis do not see each other", { skip: noRedis }, async () => {
  await using one = await inRedis();
  await using two = await inRedis();
  await one.put("k", "v", { topic: "t" });
  assert.equal(await two.get("k"), undefined);
  assert.equal((await two.position("t")).version, 0);
});

test("F05: an emptied Redis begins a new run", { skip: noRedis }, async () => {
  const serverName = `${randomUUID()}.test`;
  await using store = await inRedis(serverName);
  const before = await store.touch("typing", "!a");
  await empty(serverName);
  const after = await store.touch("typing", "!a");
  assert.notEqual(after.runId, before.runId);
  assert.equal(await store.changesAfter("typing", before), undefined);
});

test(
  "F05: while Redis is away calls fail at once; when it is back, so are they, and subscribers hear of it",
  { skip: noRedis },
  async () => {
    const { port } = new URL(REDIS_URL);
    const proxy = await openProxy(Number(port || 6379));
    const serverName = `${randomUUID()}.test`;
    const url = `redis://127.0.0.1:${proxy.port}`;
    await using store = await connectRedisStore({ url, serverName, log: silentLog });
    const heard: unknown[] = [];
    store.subscribe((change) => heard.push(change?.key));
    await store.put("k", "v");
    await proxy.cut();
    await until(() => () => !store.isConnected);
    const startedAt = performance.now();
    await assert.rejects(store.get("k"), EphemeralUnavailable);
    assert.ok(performance.now() - startedAt < 500);
    await proxy.restore();
    await until(() => async () => (await store.get("k").catch(() => undefined)) === "v");
    await until(() => () => heard.includes(undefined));
    await store.touch("typing", "!r:a");
    await until(() => () => heard.includes("!r:a"));
    await proxy.cut();
  },
);

test("a Redis that is not there is named with its setting", async () => {
  await assert.rejects(
    connectRedisStore({ url: "redis://:secret@127.0.0.1:1/0", serverName: "a", log: silentLog }),
    (error: Error) =>
      /^redis\.url: .*127\.0\.0\.1:1/.test(error.message) && !/secret/.test(error.message),
  );
});

test("a store that went away fails fast and by name", { skip: noRedis }, async () => {
  const store = await inRedis();
  await store[Symbol.asyncDispose]();
  await assert.rejects(store.get("k"), EphemeralUnavailable);
  await assert.rejects(store.takeTokens("k", { perSecond: 1, burst: 1 }), EphemeralUnavailable);
});

/** Removes all keys of a homeserver, by Redis's own protocol. */
async function empty(serverName: string): Promise<void> {
  const { hostname, port } = new URL(REDIS_URL);
  const socket = connect(Number(port || 6379), hostname);
  const script = "for _, key in ipairs(redis.call('KEYS', ARGV[1])) do redis.call('DEL', key) end";
  socket.write(`EVAL "${script}" 0 gomin:{${serverName}}:*\r\n`);
  await once(socket, "data");
  socket.destroy();
}
