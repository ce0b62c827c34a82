import assert from "node:assert/strict";
import { setImmediate } from "node:timers/promises";
import { test } from "node:test";
import type { TopicChange, TopicPosition } from "../ephemeral/ephemeral.ts";
import { markOf, NO_MARK } from "./sync-tokens.ts";
import { TopicLog } from "./topic-log.ts";

/** A store whose changes the test tells. */
function openStore(position: TopicPosition | Error) {
  let hear: (change: TopicChange | undefined) => void = () => undefined;
  const store = {
    now: position,
    position: async () => {
      if (store.now instanceof Error) throw store.now;
      return store.now;
    },
    subscribe(onChange: typeof hear) {
      hear = onChange;
      return () => {
        hear = () => undefined;
      };
    },
    tell: (version: number, key: string, runId = "a", topic = "typing") =>
      hear({ topic, key, runId, version }),
    miss: () => hear(undefined),
  };
  return store;
}

async function open(position: TopicPosition | Error) {
  const store = openStore(position);
  const changes: (string | undefined)[] = [];
  const errors: unknown[] = [];
  const log = new TopicLog({
    store,
    topic: "typing",
    onChange: (key) => changes.push(key),
    onError: (error) => errors.push(error),
  });
  await setImmediate();
  return { store, log, changes, errors };
}

test("it knows which keys changed after a mark", async () => {
  const { store, log, changes } = await open({ runId: "a", version: 5 });
  const first = log.mark;
  assert.deepEqual(first, markOf({ runId: "a", version: 5 }));
  store.tell(6, "x");
  store.tell(7, "y");
  store.tell(1, "other", "a", "presence");
  const second = log.mark;
  store.tell(8, "x");
  assert.deepEqual(log.after(first), new Set(["x", "y"]));
  assert.deepEqual(log.after(second), new Set(["x"]));
  assert.deepEqual(log.after(log.mark), new Set());
  assert.deepEqual(changes, ["x", "y", "x"]);
});

test("marks from before its start, or of another run, are not known", async () => {
  const { store, log } = await open({ runId: "a", version: 5 });
  assert.equal(log.after({ ...log.mark, version: 4 }), undefined);
  const old = log.mark;
  store.tell(1, "x", "b");
  assert.equal(log.after(old), undefined);
  assert.deepEqual(log.mark, markOf({ runId: "b", version: 1 }));
  assert.deepEqual(log.after({ ...log.mark, version: 0 }), new Set(["x"]));
});

test("where changes were missed, it starts anew and says that all may have changed", async () => {
  const { store, log, changes } = await open({ runId: "a", version: 5 });
  const old = log.mark;
  store.now = { runId: "a", version: 9 };
  store.miss();
  await setImmediate();
  assert.equal(log.after(old), undefined);
  assert.deepEqual(changes, [undefined]);
  store.miss();
  await setImmediate();
  assert.deepEqual(changes, [undefined]);
});

test("a store that cannot be reached is done without", async () => {
  const { log, errors } = await open(new Error("away"));
  assert.equal(errors.length, 1);
  assert.deepEqual(log.mark, NO_MARK);
  assert.deepEqual(log.after(NO_MARK), new Set());
});
