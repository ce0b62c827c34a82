/** Valid requests about rooms: creation, membership, events, history, aliases and /sync. */
import type { Plan, Plans } from "../plan.ts";
import type { World } from "../world.ts";

const V3 = "/_matrix/client/v3";

export const roomPlans: Plans = {
  createRoom: (world) => ({
    body: {
      visibility: "private",
      room_alias_name: world.unique("thepub"),
      name: "The Grand Duke Pub",
      topic: "All about happy hour",
      invite: [world.bob.userId],
      room_version: "12",
      creation_content: { "m.federate": false },
      initial_state: [
        { type: "m.room.guest_access", state_key: "", content: { guest_access: "forbidden" } },
      ],
      preset: "public_chat",
      is_direct: true,
      power_level_content_override: { users_default: 5 },
    },
  }),

  getJoinedRooms: () => ({}),
  joinRoomById: async (world) => ({
    as: world.bob,
    params: { roomId: await world.room() },
    body: { reason: "Looking for support" },
  }),
  joinRoom: async (world) => ({
    as: world.bob,
    params: { roomIdOrAlias: await world.room() },
    query: { via: "localhost" },
    body: { reason: "Looking for support" },
  }),
  knockRoom: async (world) => {
    const content = { join_rule: "knock" };
    const initial_state = [{ type: "m.room.join_rules", state_key: "", content }];
    const roomIdOrAlias = await world.room({ preset: "private_chat", initial_state });
    const query = { via: "localhost" };
    return { as: world.bob, params: { roomIdOrAlias }, query, body: { reason: "Let me in" } };
  },
  leaveRoom: async (world) => ({
    as: world.bob,
    params: { roomId: await world.room({}, [world.bob]) },
    body: { reason: "Going home" },
  }),
  forgetRoom: async (world) => {
    const roomId = await world.room({}, [world.bob]);
    await world.bob.leave(roomId);
    return { as: world.bob, params: { roomId } };
  },
  inviteUser: aboutUser(async (world) => [await world.room(), world.carol.userId]),
  kick: aboutUser(async (world) => [await world.room({}, [world.bob]), world.bob.userId]),
  ban: aboutUser(async (world) => [await world.room({}, [world.bob]), world.bob.userId]),
  unban: aboutUser(async (world) => {
    const roomId = await world.room({}, [world.bob]);
    const path = `${V3}/rooms/${encodeURIComponent(roomId)}/ban`;
    await world.alice.call("POST", path, { user_id: world.bob.userId });
    return [roomId, world.bob.userId];
  }),

  sendMessage: () => ({
    params: { eventType: "m.room.message" },
    body: { msgtype: "m.text", body: "hello" },
  }),
  redactEvent: async ({ alice, roomId }) => ({
    params: { eventId: await alice.send(roomId, "I did not mean it") },
    body: { reason: "Indecent material" },
  }),
  setRoomStateWithKey: (world) => ({
    params: { eventType: "org.example.state", stateKey: world.unique("key") },
    body: { value: 1 },
  }),
  getRoomStateWithKey: () => ({ params: { eventType: "m.room.create", stateKey: "" } }),
  getRoomState: () => ({}),
  getMembersByRoom: () => ({ query: { membership: "join" } }),
  getJoinedMembersByRoom: () => ({}),
  getOneRoomEvent: () => ({}),
  getEventContext: () => ({ query: { limit: "4" } }),
  getRoomEvents: () => ({ query: { dir: "b", limit: "5" } }),

  getRelatingEvents: withRelation,
  getRelatingEventsWithRelType: withRelation,
  getRelatingEventsWithRelTypeAndEventType: withRelation,
  getThreadRoots: async (world) => {
    await withRelation(world);
    return { query: { include: "all", limit: "5" } };
  },

  getRoomIdByAlias: withAlias,
  setRoomAlias: (world) => ({
    params: { roomAlias: `#${world.unique("monkeys")}:${world.server.serverName}` },
    body: { room_id: world.roomId },
  }),
  deleteRoomAlias: withAlias,
  getLocalAliases: withAlias,
  getRoomVisibilityOnDirectory: () => ({}),
  setRoomVisibilityOnDirectory: () => ({ body: { visibility: "public" } }),

  postReceipt: () => ({ params: { receiptType: "m.read" }, body: { thread_id: "main" } }),
  setReadMarker: ({ eventId }) => ({
    body: { "m.fully_read": eventId, "m.read": eventId, "m.read.private": eventId },
  }),
  setTyping: () => ({ body: { typing: true, timeout: 1000 } }),
  getPresence: withPresence,
  setPresence: () => ({ body: { presence: "online", status_msg: "I am here" } }),

  sync: () => ({ query: { timeout: "0", full_state: "false", set_presence: "offline" } }),
};

function aboutUser(find: (world: World) => Promise<[roomId: string, userId: string]>) {
  return async (world: World): Promise<Plan> => {
    const [roomId, userId] = await find(world);
    return { params: { roomId }, body: { user_id: userId, reason: "Telling unfunny jokes" } };
  };
}

/** A thread of one reply. */
async function withRelation({ alice, roomId }: World): Promise<Plan> {
  const eventId = await alice.send(roomId, "the root");
  await alice.send(roomId, {
    msgtype: "m.text",
    body: "in a thread",
    "m.relates_to": { rel_type: "m.thread", event_id: eventId },
  });
  return { params: { eventId, relType: "m.thread", eventType: "m.room.message" } };
}

async function withAlias(world: World): Promise<Plan> {
  const roomAlias = `#${world.unique("monkeys")}:${world.server.serverName}`;
  const path = `${V3}/directory/room/${encodeURIComponent(roomAlias)}`;
  await world.alice.call("PUT", path, { room_id: world.roomId });
  return { params: { roomAlias } };
}

async function withPresence({ bob }: World): Promise<Plan> {
  const { userId } = bob;
  await bob.call("PUT", `${V3}/presence/${userId}/status`, { presence: "online" });
  return { params: { userId } };
}
