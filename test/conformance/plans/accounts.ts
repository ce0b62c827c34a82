/** Valid requests about accounts, sessions, devices and what belongs to a user. */
import { withAuth } from "../../fixtures/interactive-auth.ts";
import { textAt } from "../../fixtures/json.ts";
import type { Plan, Plans } from "../plan.ts";
import type { World } from "../world.ts";

const V3 = "/_matrix/client/v3";

export const accountPlans: Plans = {
  getVersions: () => ({}),
  getWellknown: () => ({}),
  getWellknownSupport: () => ({}),
  getCapabilities: () => ({}),

  register: async (world) => {
    const request = {
      method: "POST",
      path: `${V3}/register?kind=user`,
      body: {
        username: world.unique("newcomer"),
        password: "ilovebananas",
        device_id: "GHTYAJCE",
        initial_device_display_name: "Jungle Phone",
        inhibit_login: false,
        refresh_token: true,
      },
    };
    const body = await withAuth(world.server.http, request, { type: "m.login.dummy" });
    return { query: { kind: "user" }, body };
  },
  checkUsernameAvailability: (world) => ({ query: { username: world.unique("free") } }),
  registrationTokenValidity: () => ({ query: { token: "fBVFdqVE" } }),

  getLoginFlows: () => ({}),
  login: ({ bob }) => ({
    body: {
      type: "m.login.password",
      identifier: { type: "m.id.user", user: bob.userId },
      password: bob.password,
      device_id: "JUNGLE",
      initial_device_display_name: "Jungle Phone",
      refresh_token: true,
    },
  }),
  generateLoginToken: async (world) => {
    const path = "/_matrix/client/v1/login/get_token";
    return { body: await world.authenticated(world.alice, "POST", path, {}) };
  },
  refresh: async ({ bob, server }) => {
    const { body } = await server.http.send({
      method: "POST",
      path: `${V3}/login`,
      body: {
        type: "m.login.password",
        identifier: { type: "m.id.user", user: bob.userId },
        password: bob.password,
        refresh_token: true,
      },
    });
    return { body: { refresh_token: textAt(body, "refresh_token") } };
  },
  logout: async ({ server, bob }) => ({ as: await server.login(bob) }),
  logout_all: async (world) => ({ as: await world.user() }),
  getTokenOwner: () => ({}),
  requestOpenIdToken: () => ({ body: {} }),

  changePassword: async (world) => {
    const user = await world.user();
    const change = { new_password: "ihatebananas", logout_devices: true };
    const path = `${V3}/account/password`;
    return { as: user, body: await world.authenticated(user, "POST", path, change) };
  },
  deactivateAccount: async (world) => {
    const user = await world.user();
    const path = `${V3}/account/deactivate`;
    return { as: user, body: await world.authenticated(user, "POST", path, { erase: true }) };
  },
  getAccount3PIDs: () => ({}),

  getDevices: () => ({}),
  getDevice: () => ({}),
  updateDevice: () => ({ body: { display_name: "My other phone" } }),
  deleteDevice: async (world) => {
    const { deviceId } = await world.server.login(world.bob);
    const body = await world.authenticated(
      world.bob,
      "DELETE",
      `${V3}/devices/${encodeURIComponent(deviceId)}`,
      {},
    );
    return { as: world.bob, params: { deviceId }, body };
  },
  deleteDevices: async (world) => {
    const { deviceId } = await world.server.login(world.bob);
    const path = `${V3}/delete_devices`;
    const body = await world.authenticated(world.bob, "POST", path, { devices: [deviceId] });
    return { as: world.bob, body };
  },

  getWhoIs: ({ admin, alice }) => ({ as: admin, params: { userId: alice.userId } }),
  getAdminSuspendUser: aboutCarol,
  setAdminSuspendUser: async (world) => ({
    ...(await aboutSomebody(world)),
    body: { suspended: true },
  }),
  getAdminLockUser: aboutCarol,
  setAdminLockUser: async (world) => ({ ...(await aboutSomebody(world)), body: { locked: true } }),

  setAccountData: (world) => ({
    params: { type: world.unique("org.example.data") },
    body: { custom_account_data_key: "custom_config_value" },
  }),
  getAccountData: async (world) => {
    const type = world.unique("org.example.data");
    const { alice } = world;
    await alice.call("PUT", `${V3}/user/${alice.userId}/account_data/${type}`, { a: 1 });
    return { params: { type } };
  },
  setAccountDataPerRoom: (world) => ({
    params: { type: world.unique("org.example.data") },
    body: { custom_account_data_key: "custom_config_value" },
  }),
  getAccountDataPerRoom: async (world) => {
    const type = world.unique("org.example.data");
    const { alice, roomId } = world;
    const room = encodeURIComponent(roomId);
    const path = `${V3}/user/${alice.userId}/rooms/${room}/account_data/${type}`;
    await alice.call("PUT", path, { a: 1 });
    return { params: { type } };
  },
  getRoomTags: withTag,
  setRoomTag: () => ({ params: { tag: "u.work" }, body: { order: 0.25 } }),
  deleteRoomTag: withTag,

  getUserProfile: withName,
  getProfileField: withName,
  setProfileField: () => ({
    params: { keyName: "displayname" },
    body: { displayname: "Alice Wonderland" },
  }),
  deleteProfileField: async ({ alice }) => {
    const keyName = "org.example.colour";
    await alice.call("PUT", `${V3}/profile/${alice.userId}/${keyName}`, { [keyName]: "red" });
    return { params: { keyName } };
  },

  defineFilter: () => ({
    body: {
      event_fields: ["type", "content", "sender"],
      event_format: "client",
      presence: { types: ["m.presence"], not_senders: ["@alice:localhost"], limit: 10 },
      account_data: { types: ["m.*"], not_types: ["m.tag"] },
      room: {
        rooms: ["!nowhere:localhost"],
        include_leave: true,
        state: { types: ["m.room.*"], lazy_load_members: true, include_redundant_members: false },
        timeline: { limit: 10, contains_url: false, unread_thread_notifications: true },
        ephemeral: { senders: ["@alice:localhost"] },
        account_data: { not_rooms: ["!726s6s6q:localhost"] },
      },
    },
  }),
  getFilter: async ({ alice }) => {
    const path = `${V3}/user/${encodeURIComponent(alice.userId)}/filter`;
    const answer = await alice.call("POST", path, { event_format: "client" });
    return { params: { filterId: textAt(answer, "filter_id") } };
  },
};

function aboutCarol({ admin, carol }: World): Plan {
  return { as: admin, params: { userId: carol.userId } };
}

async function aboutSomebody(world: World): Promise<Plan> {
  const { userId } = await world.user();
  return { as: world.admin, params: { userId } };
}

async function withTag({ alice, roomId }: World): Promise<Plan> {
  const room = encodeURIComponent(roomId);
  const tag = "u.work";
  await alice.call("PUT", `${V3}/user/${alice.userId}/rooms/${room}/tags/${tag}`, { order: 0.5 });
  return { params: { tag } };
}

async function withName({ bob }: World): Promise<Plan> {
  const keyName = "displayname";
  const path = `${V3}/profile/${encodeURIComponent(bob.userId)}/${keyName}`;
  await bob.call("PUT", path, { displayname: "Bob the builder" });
  return { params: { userId: bob.userId, keyName } };
}
