import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { after, suite, test } from "node:test";
import type { UserId } from "../../spec/identifiers.ts";
import type { JsonObject } from "../../spec/shape.ts";
import * as oneTimeKeys from "../../storage/one-time-keys.ts";
import { openTestDatabase } from "../../storage/testing.ts";
import { alice, bob } from "../rooms/testing.ts";
import type { RemoteKeys } from "./keys.ts";
import {
  newDevice,
  openTestKeys,
  remoteServer,
  remoteUser,
  type TestDevice,
  type TestKeys,
} from "./testing.ts";

const database = await openTestDatabase();
const here = await openTestKeys(database);
const there = await openTestKeys(database);
const { keys, stream } = here;
after(async () => {
  await here[Symbol.asyncDispose]();
  await there[Symbol.asyncDispose]();
  await database[Symbol.asyncDispose]();
});

async function claim(by: TestKeys, ...devices: TestDevice[]): Promise<(string | undefined)[]> {
  const wanted = new Map<UserId, Map<string, string>>();
  for (const { userId, deviceId } of devices) {
    const own = wanted.get(userId) ?? new Map<string, string>();
    wanted.set(userId, own.set(deviceId, "signed_curve25519"));
  }
  const { oneTimeKeys: found } = await by.keys.claim({ devices: wanted, timeoutMs: 1000 });
  return devices.map(({ userId, deviceId }) => {
    const byDevice = found.get(userId) as Record<string, JsonObject> | undefined;
    return Object.keys(byDevice?.[deviceId] ?? {})[0];
  });
}

suite("claiming keys", () => {
  test("V082: gives the oldest first, then the fallback key again and again", async () => {
    const device = await newDevice(database, alice, "ORDER");
    // The IDs say another order than the uploads.
    for (const keyId of ["C", "A", "B"]) {
      await keys.upload(device, { oneTimeKeys: [device.oneTimeKey(keyId)], fallbackKeys: [] });
    }
    await keys.upload(device, { oneTimeKeys: [], fallbackKeys: [device.fallbackKey("F")] });
    const found: (string | undefined)[] = [];
    for (let i = 0; i < 5; i++) found.push(...(await claim(here, device)));
    assert.deepEqual(
      found.map((name) => name?.split(":")[1]),
      ["C", "A", "B", "F", "F"],
    );
  });

  test("V082: 64 claims at once by two processes get 50 keys, each once, and then the fallback", async () => {
    const device = await newDevice(database, alice, "CROWD");
    await keys.upload(device, {
      oneTimeKeys: device.oneTimeKeys("k", 50),
      fallbackKeys: [device.fallbackKey("F")],
    });
    const found = (
      await Promise.all(Array.from({ length: 64 }, (_, i) => claim(i % 2 ? here : there, device)))
    ).flat();
    const single = found.filter((name) => name !== "signed_curve25519:F");
    assert.equal(single.length, 50);
    assert.equal(new Set(single).size, 50);
    assert.equal(found.length - single.length, 14);
    assert.deepEqual(await oneTimeKeys.counts(database.db, device), new Map());
  });

  test("gives the key as it was uploaded, of several devices at once", async () => {
    const one = await newDevice(database, alice, "ONE");
    const two = await newDevice(database, alice, "TWO");
    const three = await newDevice(database, bob, "THREE");
    for (const device of [one, two, three]) {
      await keys.upload(device, { oneTimeKeys: [device.oneTimeKey("K")], fallbackKeys: [] });
    }
    const before = stream.position;
    const answer = await keys.claim({
      devices: new Map([
        [alice, new Map([one, two].map(({ deviceId }) => [deviceId, "signed_curve25519"]))],
        [bob, new Map([["THREE", "signed_curve25519"]])],
      ]),
      timeoutMs: 1000,
    });
    const keyOf = (device: TestDevice) => ({
      "signed_curve25519:K": device.oneTimeKey("K").key,
    });
    assert.deepEqual(Object.fromEntries(answer.oneTimeKeys), {
      [alice]: { ONE: keyOf(one), TWO: keyOf(two) },
      [bob]: { THREE: keyOf(three) },
    });
    assert.deepEqual(
      stream.after(before)?.map((entry) => [entry.kind, entry.userId, entry.deviceId]),
      [
        ["one_time_keys", alice, "ONE"],
        ["one_time_keys", alice, "TWO"],
        ["one_time_keys", bob, "THREE"],
      ],
    );
  });

  test("of what is not there gives nothing and disturbs nobody", async () => {
    const empty = await newDevice(database, alice, "EMPTY");
    const used = await newDevice(database, alice, "USED");
    await keys.upload(used, { oneTimeKeys: [], fallbackKeys: [used.fallbackKey("F")] });
    await claim(here, used);
    const before = stream.position;
    const answer = await keys.claim({
      devices: new Map([
        [
          alice,
          new Map([
            ["EMPTY", "signed_curve25519"],
            ["USED", "org.example.other"],
          ]),
        ],
        ["@nobody:here.example", new Map([["X", "signed_curve25519"]])],
      ]),
      timeoutMs: 1000,
    });
    assert.deepEqual([...answer.oneTimeKeys], []);
    assert.deepEqual([...answer.failures], []);
    assert.deepEqual(await claim(here, empty, used), [undefined, "signed_curve25519:F"]);
    assert.equal(stream.position, before);
  });

  test("of other servers are asked there; a server that fails is named", async () => {
    const answer = await keys.claim({
      devices: new Map([[remoteUser, new Map([["X", "signed_curve25519"]])]]),
      timeoutMs: 1000,
    });
    assert.deepEqual([...answer.failures.keys()], [remoteServer]);
    const remote: Pick<RemoteKeys, "claim"> = {
      claim: async () =>
        new Map<UserId, JsonObject>([
          [remoteUser, { X: { "signed_curve25519:R": {} } }],
          [alice, { ONE: { "signed_curve25519:FORGED": {} } }],
        ]),
    };
    await using asking = await openTestKeys(database, {
      remote: { ...remote, query: () => Promise.reject(new Error("not asked")) },
    });
    const found = await asking.keys.claim({
      devices: new Map([[remoteUser, new Map([["X", "signed_curve25519"]])]]),
      timeoutMs: 1000,
    });
    assert.deepEqual(Object.fromEntries(found.oneTimeKeys), {
      [remoteUser]: { X: { "signed_curve25519:R": {} } },
    });
  });
});

const urlOf = (file: string): string => new URL(file, import.meta.url).href;

/** Claims keys of a device for ever, in a process of its own, and prints each. */
const CLAIMER = `
  const { openDatabase } = await import("${urlOf("../../storage/database.ts")}");
  const { openStream } = await import("${urlOf("../stream/stream.ts")}");
  const { InProcessBus } = await import("${urlOf("../bus/in-process-bus.ts")}");
  const { claimKeys } = await import("${urlOf("./claim.ts")}");
  const onError = () => undefined;
  const database = openDatabase({ url: process.argv[1] }, onError);
  const bus = new InProcessBus(onError);
  const stream = await openStream({ database, bus, processId: "claimer", onError });
  const deps = { database, stream, isLocal: () => true, remote: undefined };
  const devices = new Map([["${alice}", new Map([["KILLED", "signed_curve25519"]])]]);
  await Promise.all(Array.from({ length: 8 }, async () => {
    for (;;) {
      const { oneTimeKeys } = await claimKeys(deps, { devices, timeoutMs: 1000 });
      const [name] = Object.keys(oneTimeKeys.get("${alice}")?.KILLED ?? {});
      if (name === undefined) return;
      process.stdout.write(name + "\\n");
    }
  }));
  process.exit(0);
`;

test("V082: kill -9 in the middle of claims gives no key twice", async () => {
  const device = await newDevice(database, alice, "KILLED");
  await keys.upload(device, { oneTimeKeys: device.oneTimeKeys("x", 500), fallbackKeys: [] });
  const issued: string[] = [];
  for (let round = 0; round < 3; round++) {
    const args = ["--input-type=module", "-e", CLAIMER, database.connection.url ?? ""];
    const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
    const lines = createInterface(child.stdout);
    const ended = Promise.all([once(child, "exit"), once(lines, "close")]);
    const enough = issued.length + 12 + 7 * round;
    await new Promise<void>((resolve) => {
      lines.on("line", (line) => {
        issued.push(line);
        if (issued.length >= enough) resolve();
      });
    });
    child.kill("SIGKILL");
    await ended;
  }
  assert.ok(issued.length < 400, "it was killed before it was done");
  for (let i = 0; i < 30; i++) {
    const [name] = await claim(here, device);
    if (name !== undefined) issued.push(name);
  }
  assert.equal(new Set(issued).size, issued.length);
  const left = (await oneTimeKeys.counts(database.db, device)).get("signed_curve25519") ?? 0;
  assert.ok(left + issued.length <= 500, "what was given out has left the stock");
});
