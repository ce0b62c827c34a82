import assert from "node:assert/strict";
import { after, before, beforeEach, test } from "node:test";
import type { Caller } from "../server/route.ts";
import type { SyncRequest } from "../server/sync/sync.ts";
import { serveRoutes, type TestHttp } from "./testing.ts";
import { syncing } from "./syncing.ts";

const SYNC = "/_matrix/client/v3/sync";
const caller: Caller = {
  userId: "@alice:gomin.test",
  deviceId: "A",
  tokenId: 1,
  isAdmin: false,
  isGuest: false,
  isSuspended: false,
};

let http: TestHttp;
let asked: Omit<SyncRequest, "signal">[] = [];
before(async () => {
  const routes = syncing({
    async sync(of, { signal, ...request }) {
      assert.equal(of.deviceId, "A");
      assert.ok(signal instanceof AbortSignal);
      asked.push(request);
      return Buffer.from('{"next_batch":"s1"}');
    },
  });
  http = await serveRoutes(routes, async () => caller);
});
after(async () => {
  await http[Symbol.asyncDispose]();
});
beforeEach(() => {
  asked = [];
});

const nothing = {
  since: undefined,
  filter: undefined,
  isFullState: undefined,
  setPresence: undefined,
  timeoutMs: undefined,
  stateName: "state",
};

test("answers with the bytes it is given, as JSON", async () => {
  const answer = await http.request("GET", SYNC, undefined, "token");
  assert.deepEqual([answer.status, answer.body], [200, { next_batch: "s1" }]);
  assert.equal(answer.headers.get("content-type"), "application/json");
  assert.deepEqual(asked, [nothing]);
});

test("reads every parameter, on the r0 path too", async () => {
  const query = new URLSearchParams({
    since: "s5",
    filter: '{"room":{}}',
    full_state: "true",
    set_presence: "unavailable",
    timeout: "30000",
    use_state_after: "true",
  }).toString();
  await http.request("GET", `/_matrix/client/r0/sync?${query}`, undefined, "token");
  await http.request("GET", `${SYNC}?org.matrix.msc4222.use_state_after=true`, undefined, "token");
  assert.deepEqual(asked, [
    {
      since: "s5",
      filter: '{"room":{}}',
      isFullState: true,
      setPresence: "unavailable",
      timeoutMs: 30_000,
      stateName: "state_after",
    },
    { ...nothing, stateName: "org.matrix.msc4222.state_after" },
  ]);
});

test("refuses parameters that are none", async () => {
  for (const query of [
    "timeout=soon",
    "timeout=-1",
    "timeout=1e3",
    "full_state=yes",
    "set_presence=busy",
    "use_state_after=1",
    `since=${"s".repeat(300)}`,
  ]) {
    const answer = await http.request("GET", `${SYNC}?${query}`, undefined, "token");
    assert.deepEqual([answer.status, answer.body["errcode"]], [400, "M_INVALID_PARAM"], query);
  }
  assert.equal((await http.request("GET", SYNC)).status, 401);
  assert.deepEqual(asked, []);
});
