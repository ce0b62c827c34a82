/** S33: a guard that a new route could forget is asked of all routes. */
import assert from "node:assert/strict";
import { after, before, suite, test } from "node:test";
import { RouteTree } from "../../server/route-tree.ts";
import { NOT_SERVED } from "../conformance/exceptions.ts";
import { render, toDraft } from "../conformance/plan.ts";
import { PLANS } from "../conformance/plans/plans.ts";
import { World } from "../conformance/world.ts";
import type { HttpResponse } from "../fixtures/http-client.ts";
import { roomPath, type TestUser } from "../fixtures/test-user.ts";
import { loadFacts, type Operation } from "../spec-facts/facts.ts";

/** What a suspended user may do all the same, by the reason. */
const ALLOWED_BECAUSE: Readonly<Record<string, readonly string[]>> = {
  "the specification lets suspended users log in and out, and remove devices": [
    "generateLoginToken",
    "logout",
    "logout_all",
    "deleteDevice",
    "deleteDevices",
  ],
  "the specification lets them verify devices and keep their keys": [
    "uploadKeys",
    "queryKeys",
    "claimKeys",
    "uploadCrossSigningKeys",
    "uploadCrossSigningSignatures",
    "sendToDevice",
    "postRoomKeysVersion",
    "putRoomKeysVersion",
    "deleteRoomKeysVersion",
    "putRoomKeys",
    "deleteRoomKeys",
    "putRoomKeysByRoomId",
    "deleteRoomKeysByRoomId",
    "putRoomKeyBySessionId",
    "deleteRoomKeyBySessionId",
  ],
  "the specification lets them leave, redact what they wrote, and deactivate the account": [
    "leaveRoom",
    "forgetRoom",
    "redactEvent",
    "deactivateAccount",
  ],
  "it is how they read, and tells others no word of theirs": [
    "defineFilter",
    "setAccountData",
    "setAccountDataPerRoom",
    "setRoomTag",
    "deleteRoomTag",
    "setPushRule",
    "deletePushRule",
    "setPushRuleEnabled",
    "setPushRuleActions",
    "postReceipt",
    "setReadMarker",
  ],
  "administrators are suspended by nobody who asks over HTTP": [
    "setAdminSuspendUser",
    "setAdminLockUser",
  ],
  "it keeps the account in its owner's hands": [
    "changePassword",
    "updateDevice",
    "requestOpenIdToken",
  ],
};
const ALLOWED = Object.values(ALLOWED_BECAUSE).flat();

let world: World;
let marshal: TestUser;
before(async () => {
  world = await World.open();
  marshal = await world.server.registerAdmin("marshal");
});
after(() => world[Symbol.asyncDispose]());

function suspend(user: TestUser, suspended: boolean): Promise<HttpResponse> {
  const path = `/_matrix/client/v1/admin/suspend/${encodeURIComponent(user.userId)}`;
  return marshal.request("PUT", path, { suspended });
}

async function whileSuspended(
  user: TestUser,
  act: () => Promise<HttpResponse>,
): Promise<HttpResponse> {
  const { status } = await suspend(user, true);
  assert.equal(status, user === world.admin ? 403 : 200);
  const answer = await act();
  await suspend(user, false);
  return answer;
}

/** Operations of users that change something, and are served. */
const operations = loadFacts("client-server").operations.filter(
  ({ id, method, security }) => method !== "GET" && security !== "none" && !NOT_SERVED.includes(id),
);

async function attempt(operation: Operation): Promise<HttpResponse> {
  const plan = await PLANS[operation.id]?.(world);
  assert.ok(plan !== undefined, `there is no plan for ${operation.id}`);
  const request = render(toDraft(operation, plan, world));
  return whileSuspended(plan.as ?? world.alice, () => world.server.http.send(request));
}

suite("S33: a suspended user", () => {
  for (const operation of operations) {
    const isAllowed = ALLOWED.includes(operation.id);
    test(`S33: ${isAllowed ? "may" : "may not"} ${operation.id}`, async () => {
      const { status, body, bytes } = await attempt(operation);
      const told = `${status} ${bytes.toString("utf8", 0, 300)}`;
      if (isAllowed) assert.ok(status < 300, told);
      else assert.deepEqual([status, body["errcode"]], [403, "M_USER_SUSPENDED"], told);
    });
  }

  test("S33: is asked about on every route that changes something", () => {
    const tree = new RouteTree(world.server.routes);
    const paths = operations.map(({ method, path }) => ({ method, path }));
    // The specification has this path as the one below it with an empty state key.
    paths.push({ method: "PUT", path: "/_matrix/client/v3/rooms/!a/state/m.room.topic" });
    const asked = new Set(paths.map(({ method, path }) => tree.find(method, path)?.route));
    const forgotten = world.server.routes.filter(
      (route) => route.method !== "GET" && route.access !== "public" && !asked.has(route),
    );
    assert.deepEqual(
      forgotten.map(({ method, path }) => `${method} ${path}`),
      [],
    );
    assert.deepEqual(
      ALLOWED.filter((id) => !operations.some((operation) => operation.id === id)),
      [],
      "no exception is for nothing",
    );
  });

  test("S33: may not set state on the path without a state key", async () => {
    const { alice, roomId } = world;
    const set = () => alice.request("PUT", roomPath(roomId, "state", "m.room.topic"), {});
    const { status, body } = await whileSuspended(alice, set);
    assert.deepEqual([status, body["errcode"]], [403, "M_USER_SUSPENDED"]);
  });

  test("S33: may be present without a word", async () => {
    const { alice } = world;
    const path = `/_matrix/client/v3/presence/${alice.userId}/status`;
    const set = () => alice.request("PUT", path, { presence: "online" });
    assert.equal((await whileSuspended(alice, set)).status, 200);
  });

  test("S33: redacts nothing of others, though the room would let them", async () => {
    const { alice, bob, roomId } = world;
    const eventId = await bob.send(roomId, "bob's");
    const redact = () => alice.request("PUT", roomPath(roomId, "redact", eventId, "s33"), {});
    const { status, body } = await whileSuspended(alice, redact);
    assert.deepEqual([status, body["errcode"]], [403, "M_USER_SUSPENDED"]);
  });

  test("S33: leaves by a member event too, and says nothing by the way", async () => {
    const { bob } = world;
    const set = (roomId: string, content: object) =>
      bob.request("PUT", roomPath(roomId, "state", "m.room.member", bob.userId), content);
    const roomId = await world.room({}, [bob]);
    const renamed = { membership: "join", displayname: "buy!" };
    const refused = await whileSuspended(bob, () => set(roomId, renamed));
    assert.equal(refused.body["errcode"], "M_USER_SUSPENDED");
    const left = await whileSuspended(bob, () => set(roomId, { membership: "leave" }));
    assert.equal(left.status, 200);
  });

  test("S33: logs in, and reads on", async () => {
    const { alice, bob, roomId } = world;
    await suspend(bob, true);
    const eventId = await alice.send(roomId, "for all");
    const again = await world.server.login(bob);
    await again.waitForEvent(roomId, (event) => event["event_id"] === eventId);
    await again.call("GET", `${roomPath(roomId, "messages")}?dir=b`);
    await suspend(bob, false);
  });
});
