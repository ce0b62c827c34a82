import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  ALICE,
  ALL_SIGNED,
  BOB,
  CAROL,
  CREATOR,
  check,
  type Fields,
  joinRules,
  member,
  NONE_SIGNED,
  powerLevels,
} from "./auth-fixtures.ts";
import type { JsonObject } from "./shape.ts";

const invitedAlice = { ...member(ALICE, "invite"), sender: CREATOR };

describe("5. m.room.member", () => {
  check([
    {
      title: "no state key",
      event: { type: "m.room.member", content: { membership: "join" } },
      rejectedBy: "5.1",
    },
    {
      title: "no membership",
      event: { type: "m.room.member", state_key: CREATOR },
      rejectedBy: "5.1",
    },
    { title: "an unknown membership", event: member(CREATOR, "sleep"), rejectedBy: "5.8" },
    {
      title: "a membership that is null",
      event: { ...member(CREATOR, ""), content: { membership: null } },
      rejectedBy: "5.8",
    },
    {
      title: "a membership that is an object",
      event: { ...member(CREATOR, ""), content: { membership: {} } },
      rejectedBy: "5.8",
    },
    {
      title: "a membership named as what objects inherit",
      event: member(CREATOR, "constructor"),
      rejectedBy: "5.8",
    },
  ]);
});

describe("5.2 V046: join_authorised_via_users_server", () => {
  const joining = (userId: unknown) =>
    member(BOB, "join", { join_authorised_via_users_server: userId });
  const asked: string[] = [];
  const recording = { ...NONE_SIGNED, isSignedBy: (server: string) => asked.push(server) > 0 };
  check([
    {
      title: "signed by the user's server",
      in: [8, 12],
      event: joining(ALICE),
      state: [joinRules("public")],
      signatures: recording,
    },
    {
      title: "not signed",
      in: [8, 12],
      event: joining(ALICE),
      state: [joinRules("public")],
      signatures: NONE_SIGNED,
      rejectedBy: "5.2.1",
    },
    {
      title: "not a user ID",
      in: [8, 12],
      event: joining("alice"),
      state: [joinRules("public")],
      rejectedBy: "5.2.1",
    },
    {
      title: "not a string",
      in: [8, 12],
      event: joining(null),
      state: [joinRules("public")],
      rejectedBy: "5.2.1",
    },
    {
      title: "not signed, where the version does not know it",
      in: [1, 7],
      event: joining(ALICE),
      state: [joinRules("public")],
      signatures: NONE_SIGNED,
    },
    {
      title: "not signed, of another membership",
      in: [8, 12],
      event: {
        ...joining(ALICE),
        content: { membership: "leave", join_authorised_via_users_server: ALICE },
      },
      signatures: NONE_SIGNED,
      rejectedBy: "5.2.1",
    },
  ]);
  it("asks for the signature of the authorising user's server", () => {
    assert.deepEqual(new Set(asked), new Set(["a.example"]));
  });
});

describe("5.3 join", () => {
  const restricted = (authoriser?: unknown) =>
    member(
      BOB,
      "join",
      authoriser === undefined ? {} : { join_authorised_via_users_server: authoriser },
    );
  const inviteAt = (invite: number) => powerLevels({ invite, users: { [ALICE]: 50 } });
  check([
    {
      title: "the creator's first join",
      in: [1, 2],
      event: { ...member(CREATOR, "join"), prev_events: [["$create:a.example", {}]] },
    },
    {
      title: "the creator's first join",
      in: [3, 12],
      event: { ...member(CREATOR, "join"), prev_events: ["$create"] },
    },
    {
      title: "another user's first join",
      in: [3, 12],
      event: { ...member(ALICE, "join"), prev_events: ["$create"] },
      rejectedBy: "5.3.4",
    },
    {
      title: "the creator's join after leaving",
      in: [3, 12],
      event: member(CREATOR, "join"),
      state: [member(CREATOR, "leave")],
      rejectedBy: "5.3.4",
    },
    {
      title: "the creator's join with a second previous event",
      in: [3, 12],
      event: { ...member(CREATOR, "join"), prev_events: ["$create", "$x"] },
      state: [member(CREATOR, "leave")],
      rejectedBy: "5.3.4",
    },
    {
      title: "the first join of the user that content.creator names",
      in: [3, 10],
      create: { creator: ALICE },
      event: { ...member(ALICE, "join"), prev_events: ["$create"] },
    },
    {
      title: "the first join of a user that content.creator names",
      in: [11, 12],
      create: { creator: ALICE },
      event: { ...member(ALICE, "join"), prev_events: ["$create"] },
      rejectedBy: "5.3.4",
    },
    {
      title: "the first join of an additional creator",
      in: [12, 12],
      create: { additional_creators: [ALICE] },
      event: { ...member(ALICE, "join"), prev_events: ["$create"] },
      rejectedBy: "5.3.4",
    },
    {
      title: "joining another user",
      event: { ...member(ALICE, "join"), sender: CREATOR },
      state: [joinRules("public")],
      rejectedBy: "5.3.2",
    },
    {
      title: "joining while banned",
      event: member(ALICE, "join"),
      state: [joinRules("public"), member(ALICE, "ban")],
      rejectedBy: "5.3.3",
    },
    {
      title: "joining by invitation",
      event: member(ALICE, "join"),
      state: [joinRules("invite"), invitedAlice],
    },
    {
      title: "joining by invitation where no rule is set",
      event: member(ALICE, "join"),
      state: [invitedAlice],
    },
    {
      title: "joining without invitation where no rule is set",
      event: member(ALICE, "join"),
      rejectedBy: "5.3.4",
    },
    {
      title: "joining without invitation",
      event: member(ALICE, "join"),
      state: [joinRules("invite")],
      rejectedBy: "5.3.4",
    },
    {
      title: "joining again",
      event: member(ALICE, "join", { displayname: "A" }),
      state: [joinRules("invite"), member(ALICE, "join")],
    },
    { title: "joining a public room", event: member(ALICE, "join"), state: [joinRules("public")] },
    {
      title: "joining a private room",
      event: member(ALICE, "join"),
      state: [joinRules("private"), invitedAlice],
      rejectedBy: "5.3.7",
    },
    {
      title: "joining where the rule is no string",
      event: member(ALICE, "join"),
      state: [joinRules(["public"]), invitedAlice],
      rejectedBy: "5.3.7",
    },
    {
      title: "joining a knock room by invitation",
      in: [7, 12],
      event: member(ALICE, "join"),
      state: [joinRules("knock"), invitedAlice],
    },
    {
      title: "joining a knock room by invitation",
      in: [1, 6],
      event: member(ALICE, "join"),
      state: [joinRules("knock"), invitedAlice],
      rejectedBy: "5.3.7",
    },
    {
      title: "joining a knock room after knocking",
      in: [7, 12],
      event: member(ALICE, "join"),
      state: [joinRules("knock"), member(ALICE, "knock")],
      rejectedBy: "5.3.4",
    },
    {
      title: "joining a restricted room by invitation",
      in: [8, 12],
      event: member(ALICE, "join"),
      state: [joinRules("restricted"), invitedAlice],
    },
    {
      title: "joining a restricted room by invitation",
      in: [1, 7],
      event: member(ALICE, "join"),
      state: [joinRules("restricted"), invitedAlice],
      rejectedBy: "5.3.7",
    },
    {
      title: "joining a knock_restricted room by invitation",
      in: [10, 12],
      event: member(ALICE, "join"),
      state: [joinRules("knock_restricted"), invitedAlice],
    },
    {
      title: "joining a knock_restricted room by invitation",
      in: [1, 9],
      event: member(ALICE, "join"),
      state: [joinRules("knock_restricted"), invitedAlice],
      rejectedBy: "5.3.7",
    },
    {
      title: "V046: a restricted join with an authoriser",
      in: [8, 12],
      event: restricted(ALICE),
      state: [joinRules("restricted"), member(ALICE, "join")],
    },
    {
      title: "V046: a knock_restricted join with an authoriser",
      in: [10, 12],
      event: restricted(ALICE),
      state: [joinRules("knock_restricted"), member(ALICE, "join")],
    },
    {
      title: "V046: a restricted join without an authoriser",
      in: [8, 12],
      event: restricted(),
      state: [joinRules("restricted")],
      rejectedBy: "5.3.5.2",
    },
    {
      title: "V046: an authoriser that is not joined",
      in: [8, 12],
      event: restricted(ALICE),
      state: [joinRules("restricted"), invitedAlice],
      rejectedBy: "5.3.5.2",
    },
    {
      title: "V046: an authoriser without the power to invite",
      in: [8, 12],
      event: restricted(ALICE),
      state: [joinRules("restricted"), member(ALICE, "join"), inviteAt(51)],
      rejectedBy: "5.3.5.2",
    },
    {
      title: "V046: an authoriser with just the power to invite",
      in: [8, 12],
      event: restricted(ALICE),
      state: [joinRules("restricted"), member(ALICE, "join"), inviteAt(50)],
    },
  ]);
});

describe("5.4 invite", () => {
  const invite = { ...member(BOB, "invite"), sender: CREATOR };
  const byAlice = { ...member(BOB, "invite"), sender: ALICE };
  check([
    { title: "by a member", event: invite },
    {
      title: "by a member where no power levels are set",
      event: byAlice,
      state: [member(ALICE, "join")],
    },
    {
      title: "by a user who is not joined",
      event: byAlice,
      state: [invitedAlice],
      rejectedBy: "5.4.2",
    },
    { title: "of a joined user", event: invite, state: [member(BOB, "join")], rejectedBy: "5.4.3" },
    { title: "of a banned user", event: invite, state: [member(BOB, "ban")], rejectedBy: "5.4.3" },
    { title: "of an invited user", event: invite, state: [member(BOB, "invite")] },
    { title: "of a knocking user", in: [7, 12], event: invite, state: [member(BOB, "knock")] },
    {
      title: "below the invite level",
      event: byAlice,
      state: [member(ALICE, "join"), powerLevels({ invite: 1 })],
      rejectedBy: "5.4.5",
    },
    {
      title: "at the invite level",
      event: byAlice,
      state: [member(ALICE, "join"), powerLevels({ invite: 1, users_default: 1 })],
    },
  ]);
});

describe("5.4.1 V047: invite by third-party identifier", () => {
  const signed = { mxid: BOB, token: "tok", signatures: { "is.example": { "ed25519:0": "sig" } } };
  const invite = (thirdParty: unknown, sender = CREATOR): Fields => ({
    ...member(BOB, "invite", { third_party_invite: thirdParty }),
    sender,
  });
  const pending = (content: JsonObject): Fields => ({
    type: "m.room.third_party_invite",
    state_key: "tok",
    content,
  });
  const state = [pending({ public_key: "K0", public_keys: [{ public_key: "K1" }] })];
  const signedWith = (...keys: string[]) => ({
    ...NONE_SIGNED,
    isSignedWith: (object: JsonObject, key: string) => object === signed && keys.includes(key),
  });
  const by = signedWith("K0", "K1");
  const many = Array.from({ length: 11 }, (_, i) => ({ public_key: `K${i}` }));
  check([
    {
      title: "signed with public_key",
      event: invite({ signed }),
      state,
      signatures: signedWith("K0"),
    },
    {
      title: "signed with one of public_keys",
      event: invite({ signed }),
      state,
      signatures: signedWith("K1"),
    },
    {
      title: "signed with the tenth key",
      event: invite({ signed }),
      state: [pending({ public_keys: many })],
      signatures: signedWith("K9"),
    },
    {
      title: "signed with the eleventh key",
      event: invite({ signed }),
      state: [pending({ public_keys: many })],
      signatures: signedWith("K10"),
      rejectedBy: "5.4.1.8",
    },
    {
      title: "signed with another key",
      event: invite({ signed }),
      state,
      signatures: signedWith("K2"),
      rejectedBy: "5.4.1.8",
    },
    {
      title: "of a sender who has left, who sent the third-party invite",
      event: invite({ signed }),
      state: [...state, member(CREATOR, "leave")],
      signatures: by,
    },
    {
      title: "of a banned user",
      event: invite({ signed }),
      state: [...state, member(BOB, "ban")],
      signatures: by,
      rejectedBy: "5.4.1.1",
    },
    { title: "without signed", event: invite({}), state, signatures: by, rejectedBy: "5.4.1.2" },
    { title: "with null", event: invite(null), state, signatures: by, rejectedBy: "5.4.1.2" },
    {
      title: "with a string as signed",
      event: invite({ signed: "x" }),
      state,
      signatures: by,
      rejectedBy: "5.4.1.2",
    },
    {
      title: "without mxid",
      event: invite({ signed: { token: "tok" } }),
      state,
      signatures: by,
      rejectedBy: "5.4.1.3",
    },
    {
      title: "without token",
      event: invite({ signed: { mxid: BOB } }),
      state,
      signatures: by,
      rejectedBy: "5.4.1.3",
    },
    {
      title: "with a token that is no string",
      event: invite({ signed: { mxid: BOB, token: 7 } }),
      state,
      signatures: by,
      rejectedBy: "5.4.1.3",
    },
    {
      title: "for another user",
      event: invite({ signed: { ...signed, mxid: CAROL } }),
      state,
      signatures: by,
      rejectedBy: "5.4.1.4",
    },
    {
      title: "with an unknown token",
      event: invite({ signed: { ...signed, token: "other" } }),
      state,
      signatures: by,
      rejectedBy: "5.4.1.5",
    },
    {
      title: "by another sender",
      event: invite({ signed }, ALICE),
      state: [...state, member(ALICE, "join")],
      signatures: by,
      rejectedBy: "5.4.1.6",
    },
    {
      title: "with malformed keys",
      event: invite({ signed }),
      state: [pending({ public_key: 7, public_keys: [null, "K0", { public_key: {} }] })],
      signatures: { ...ALL_SIGNED },
      rejectedBy: "5.4.1.8",
    },
    {
      title: "with keys that are no array",
      event: invite({ signed }),
      state: [pending({ public_keys: { public_key: "K0" } })],
      signatures: by,
      rejectedBy: "5.4.1.8",
    },
  ]);
});

describe("5.5 leave", () => {
  const leave = (target: string, sender = target): Fields => ({
    ...member(target, "leave"),
    sender,
  });
  const levels = (content: JsonObject) =>
    powerLevels({ users: { [ALICE]: 60, [BOB]: 60, [CAROL]: 10 }, ...content });
  const joined = [member(ALICE, "join"), member(BOB, "join"), member(CAROL, "join")];
  check([
    { title: "leaving", event: leave(ALICE), state: [member(ALICE, "join")] },
    { title: "refusing an invitation", event: leave(ALICE), state: [invitedAlice] },
    {
      title: "retracting a knock",
      in: [7, 12],
      event: leave(ALICE),
      state: [member(ALICE, "knock")],
    },
    {
      title: "retracting a knock",
      in: [1, 6],
      event: leave(ALICE),
      state: [member(ALICE, "knock")],
      rejectedBy: "5.5.1",
    },
    {
      title: "leaving twice",
      event: leave(ALICE),
      state: [member(ALICE, "leave")],
      rejectedBy: "5.5.1",
    },
    { title: "leaving a room one never was in", event: leave(ALICE), rejectedBy: "5.5.1" },
    {
      title: "unbanning oneself",
      event: leave(ALICE),
      state: [member(ALICE, "ban")],
      rejectedBy: "5.5.1",
    },
    {
      title: "kicking without being joined",
      event: leave(CAROL, ALICE),
      state: [levels({}), member(CAROL, "join")],
      rejectedBy: "5.5.2",
    },
    { title: "kicking", event: leave(CAROL, ALICE), state: [levels({}), ...joined] },
    {
      title: "kicking just at the kick level",
      event: leave(CAROL, ALICE),
      state: [levels({ kick: 60 }), ...joined],
    },
    {
      title: "unbanning just at the ban level",
      event: leave(CAROL, ALICE),
      state: [levels({ ban: 60 }), ...joined, member(CAROL, "ban")],
    },
    {
      title: "kicking below the kick level",
      event: leave(CAROL, ALICE),
      state: [levels({ kick: 61 }), ...joined],
      rejectedBy: "5.5.5",
    },
    {
      title: "kicking an equal",
      event: leave(BOB, ALICE),
      state: [levels({}), ...joined],
      rejectedBy: "5.5.5",
    },
    {
      title: "unbanning",
      event: leave(CAROL, ALICE),
      state: [levels({}), ...joined, member(CAROL, "ban")],
    },
    {
      title: "unbanning below the ban level",
      event: leave(CAROL, ALICE),
      state: [levels({ ban: 61 }), ...joined, member(CAROL, "ban")],
      rejectedBy: "5.5.3",
    },
    {
      title: "unbanning below the kick level",
      event: leave(CAROL, ALICE),
      state: [levels({ kick: 61 }), ...joined, member(CAROL, "ban")],
      rejectedBy: "5.5.5",
    },
    {
      title: "V058: kicking a creator",
      in: [12, 12],
      event: leave(CREATOR, ALICE),
      state: [powerLevels({ users: { [ALICE]: 2 ** 53 - 1 } }), ...joined],
      rejectedBy: "5.5.5",
    },
  ]);
});

describe("5.6 ban", () => {
  const ban = (target: string, sender: string): Fields => ({ ...member(target, "ban"), sender });
  const levels = (content: JsonObject) =>
    powerLevels({ users: { [ALICE]: 60, [BOB]: 60 }, ...content });
  const joined = [member(ALICE, "join"), member(BOB, "join")];
  check([
    { title: "banning", event: ban(CAROL, ALICE), state: [levels({}), ...joined] },
    {
      title: "banning without being joined",
      event: ban(CAROL, ALICE),
      state: [levels({})],
      rejectedBy: "5.6.1",
    },
    {
      title: "banning at the ban level",
      event: ban(CAROL, ALICE),
      state: [levels({ ban: 60 }), ...joined],
    },
    {
      title: "banning below the ban level",
      event: ban(CAROL, ALICE),
      state: [levels({ ban: 61 }), ...joined],
      rejectedBy: "5.6.3",
    },
    {
      title: "banning an equal",
      event: ban(BOB, ALICE),
      state: [levels({}), ...joined],
      rejectedBy: "5.6.3",
    },
    {
      title: "V058: a creator banning another creator",
      in: [12, 12],
      create: { additional_creators: [ALICE] },
      event: ban(ALICE, CREATOR),
      state: joined,
      rejectedBy: "5.6.3",
    },
    {
      title: "V058: banning an additional creator",
      in: [12, 12],
      create: { additional_creators: [CAROL] },
      event: ban(CAROL, ALICE),
      state: [levels({}), ...joined],
      rejectedBy: "5.6.3",
    },
  ]);
});

describe("5.7 knock", () => {
  const knock = member(ALICE, "knock");
  check([
    { title: "knocking", in: [7, 12], event: knock, state: [joinRules("knock")] },
    { title: "knocking", in: [1, 6], event: knock, state: [joinRules("knock")], rejectedBy: "5.8" },
    { title: "knocking again", in: [7, 12], event: knock, state: [joinRules("knock"), knock] },
    {
      title: "knocking on a public room",
      in: [7, 12],
      event: knock,
      state: [joinRules("public")],
      rejectedBy: "5.7.1",
    },
    { title: "knocking where no rule is set", in: [7, 12], event: knock, rejectedBy: "5.7.1" },
    {
      title: "knocking on a knock_restricted room",
      in: [10, 12],
      event: knock,
      state: [joinRules("knock_restricted")],
    },
    {
      title: "knocking on a knock_restricted room",
      in: [7, 9],
      event: knock,
      state: [joinRules("knock_restricted")],
      rejectedBy: "5.7.1",
    },
    {
      title: "knocking for another user",
      in: [7, 12],
      event: { ...knock, sender: CREATOR },
      state: [joinRules("knock")],
      rejectedBy: "5.7.2",
    },
    {
      title: "knocking while banned",
      in: [7, 12],
      event: knock,
      state: [joinRules("knock"), member(ALICE, "ban")],
      rejectedBy: "5.7.4",
    },
    {
      title: "knocking while invited",
      in: [7, 12],
      event: knock,
      state: [joinRules("knock"), invitedAlice],
      rejectedBy: "5.7.4",
    },
    {
      title: "knocking while joined",
      in: [7, 12],
      event: knock,
      state: [joinRules("knock"), member(ALICE, "join")],
      rejectedBy: "5.7.4",
    },
  ]);
});
