import { describe } from "node:test";
import { ALICE, BOB, CREATOR, type Case, check, member, powerLevels } from "./auth-fixtures.ts";
import type { JsonObject } from "./shape.ts";
import { JsonNumber } from "./strict-json.ts";

describe("10. m.room.power_levels", () => {
  const joined = member(ALICE, "join");
  const change = (from: JsonObject, to: JsonObject): Pick<Case, "event" | "state"> => ({
    event: { ...powerLevels(to), sender: ALICE },
    state: [joined, powerLevels({ state_default: 50, users: { [ALICE]: 50 }, ...from })],
  });
  const same = { state_default: 50, users: { [ALICE]: 50 } };
  const first = (content: JsonObject) => ({ event: powerLevels(content) });

  check([
    { title: "the first power levels", ...first({ users: { [ALICE]: 1000 }, ban: 70 }) },
    { title: "empty power levels", ...first({}) },
    { title: "V016: a string level", in: [10, 12], ...first({ ban: "50" }), rejectedBy: "10.1" },
    { title: "V016: a string level", in: [1, 9], ...first({ ban: " 50 " }) },
    { title: "V016: a null level", in: [10, 12], ...first({ kick: null }), rejectedBy: "10.1" },
    { title: "V016: a null level", in: [1, 9], ...first({ kick: null }) },
    {
      title: "V016: a level beyond 2^53",
      in: [10, 12],
      ...first({ invite: 2 ** 53 }),
      rejectedBy: "10.1",
    },
    { title: "a fraction", in: [10, 12], ...first({ invite: 0.5 }), rejectedBy: "10.1" },
    { title: "a boolean", in: [10, 12], ...first({ invite: true }), rejectedBy: "10.1" },
    {
      title: "V016: notifications with null",
      in: [10, 12],
      ...first({ notifications: { room: null } }),
      rejectedBy: "10.2",
    },
    {
      title: "V016: notifications with null",
      in: [1, 9],
      ...first({ notifications: { room: null } }),
    },
    {
      title: "events that are an array",
      in: [10, 12],
      ...first({ events: [] }),
      rejectedBy: "10.2",
    },
    { title: "events that are an array", in: [1, 9], ...first({ events: [] }) },
    {
      title: "events with strings",
      in: [10, 12],
      ...first({ events: { a: "1" } }),
      rejectedBy: "10.2",
    },
    { title: "users that are an array", ...first({ users: [] }), rejectedBy: "10.3" },
    { title: "users that are null", ...first({ users: null }), rejectedBy: "10.3" },
    { title: "V016: users with null", ...first({ users: { [ALICE]: null } }), rejectedBy: "10.3" },
    { title: "users with a word", ...first({ users: { [ALICE]: "high" } }), rejectedBy: "10.3" },
    {
      title: "users with a number in a string",
      in: [1, 9],
      ...first({ users: { [ALICE]: "+050 " } }),
    },
    {
      title: "users with a number in a string",
      in: [10, 12],
      ...first({ users: { [ALICE]: "50" } }),
      rejectedBy: "10.3",
    },
    { title: "users with a fraction", in: [1, 5], ...first({ users: { [ALICE]: 50.57 } }) },
    {
      title: "users with a fraction",
      in: [6, 12],
      ...first({ users: { [ALICE]: 50.57 } }),
      rejectedBy: "10.3",
    },
    {
      title: "users with 2^60",
      in: [6, 12],
      ...first({ users: { [ALICE]: 2 ** 60 } }),
      rejectedBy: "10.3",
    },
    {
      title: "users with infinity",
      in: [1, 5],
      ...first({ users: { [ALICE]: Infinity } }),
      rejectedBy: "10.3",
    },
    {
      title: "a level of infinity",
      in: [1, 5],
      ...first({ ban: Infinity }),
      rejectedBy: "v1:floats",
    },
    {
      title: "an event level of infinity",
      in: [1, 5],
      ...first({ events: { x: -Infinity } }),
      rejectedBy: "v1:floats",
    },
    {
      title: "users of which one is no user ID",
      ...first({ users: { [ALICE]: 50, alice: 50 } }),
      rejectedBy: "10.3",
    },
    {
      title: "a notification level of infinity",
      in: [1, 5],
      ...first({ notifications: { room: Infinity } }),
      rejectedBy: "v1:floats",
    },
    {
      title: "numbers that keep their text, as versions 1 to 5 have them",
      in: [1, 5],
      ...first({ ban: new JsonNumber("5.114698E4"), users: { [ALICE]: new JsonNumber("1.0") } }),
    },
    {
      title: "a level beyond the range of a double",
      in: [1, 5],
      ...first({ ban: new JsonNumber("1e999") }),
      rejectedBy: "v1:floats",
    },
    { title: "users that are no user IDs", ...first({ users: { alice: 50 } }), rejectedBy: "10.3" },
    {
      title: "a user ID without a server",
      ...first({ users: { "@alice": 50 } }),
      rejectedBy: "10.3",
    },
    {
      title: "V058: users with the creator",
      in: [12, 12],
      ...first({ users: { [CREATOR]: 100 } }),
      rejectedBy: "10.4",
    },
    {
      title: "V058: users with an additional creator",
      in: [12, 12],
      create: { additional_creators: [ALICE] },
      ...first({ users: { [ALICE]: 100 } }),
      rejectedBy: "10.4",
    },
    { title: "users with the creator", in: [1, 11], ...first({ users: { [CREATOR]: 100 } }) },

    { title: "no change", ...change({}, same) },
    { title: "raising a level up to the own", ...change({ ban: 40 }, { ...same, ban: 50 }) },
    {
      title: "raising a level above the own",
      ...change({ ban: 40 }, { ...same, ban: 51 }),
      rejectedBy: "10.6.2",
    },
    {
      title: "adding a level above the own",
      ...change({}, { ...same, redact: 51 }),
      rejectedBy: "10.6.2",
    },
    {
      title: "lowering a level above the own",
      ...change({ kick: 51 }, { ...same, kick: 0 }),
      rejectedBy: "10.6.1",
    },
    {
      title: "removing a level above the own",
      ...change({ users_default: 51 }, same),
      rejectedBy: "10.6.1",
    },
    { title: "removing a level up to the own", ...change({ events_default: 50 }, same) },
    { title: "leaving a level above the own", ...change({ invite: 99 }, { ...same, invite: 99 }) },
    {
      title: "spelling a level above the own otherwise",
      in: [1, 9],
      ...change({ invite: 99 }, { ...same, invite: "099" }),
    },

    ...(["events", "notifications"] as const).flatMap((map): Case[] => {
      const versions: [number, number] = map === "events" ? [1, 12] : [6, 12];
      const on = (from: JsonObject, to: JsonObject) => ({
        in: versions,
        ...change({ [map]: from }, { ...same, [map]: to }),
      });
      return [
        { title: `adding to ${map} up to the own level`, ...on({}, { x: 50 }) },
        {
          title: `adding to ${map} above the own level`,
          ...on({}, { x: 51 }),
          rejectedBy: "10.8.1",
        },
        {
          title: `raising in ${map} above the own level`,
          ...on({ x: 1 }, { x: 51 }),
          rejectedBy: "10.8.1",
        },
        {
          title: `lowering in ${map} from above the own level`,
          ...on({ x: 51 }, { x: 50 }),
          rejectedBy: "10.7.1",
        },
        {
          title: `removing from ${map} above the own level`,
          ...on({ x: 51 }, {}),
          rejectedBy: "10.7.1",
        },
        { title: `removing from ${map} up to the own level`, ...on({ x: 50 }, {}) },
        { title: `leaving in ${map} what is above the own level`, ...on({ x: 51 }, { x: 51 }) },
        {
          title: `adding __proto__ to ${map} above the own level`,
          ...on({}, JSON.parse('{"__proto__":51}')),
          rejectedBy: "10.8.1",
        },
      ];
    }),
    {
      title: "adding to notifications above the own level",
      in: [1, 5],
      ...change({}, { ...same, notifications: { room: 51 } }),
    },

    ...((): Case[] => {
      const on = (from: JsonObject, to: JsonObject) =>
        change(
          { users: { [ALICE]: 50, ...from } },
          { state_default: 50, users: { [ALICE]: 50, ...to } },
        );
      return [
        { title: "giving a user the own level", ...on({}, { [BOB]: 50 }) },
        {
          title: "giving a user more than the own level",
          ...on({}, { [BOB]: 51 }),
          rejectedBy: "10.10.1",
        },
        { title: "taking the level of a lower user", ...on({ [BOB]: 49 }, {}) },
        { title: "taking the level of an equal", ...on({ [BOB]: 50 }, {}), rejectedBy: "10.9.1" },
        { title: "lowering an equal", ...on({ [BOB]: 50 }, { [BOB]: 49 }), rejectedBy: "10.9.1" },
        { title: "raising a lower user to the own level", ...on({ [BOB]: 49 }, { [BOB]: 50 }) },
        { title: "raising oneself", ...on({}, { [ALICE]: 51 }), rejectedBy: "10.10.1" },
        { title: "lowering oneself", ...on({}, { [ALICE]: 0 }) },
        { title: "leaving an equal", ...on({ [BOB]: 50 }, { [BOB]: 50 }) },
      ];
    })(),
    { title: "removing oneself", ...change({}, { state_default: 50 }) },
    {
      title: "V058: a creator changing any level",
      in: [12, 12],
      state: [powerLevels({ ban: 2 ** 53 - 1 })],
      event: powerLevels({ ban: 0, kick: 2 ** 53 - 1 }),
    },
  ]);
});
