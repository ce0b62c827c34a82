/**
 * Room versions 1 to 12: https://spec.matrix.org/v1.19/rooms/
 *
 * A version is a record that spells only what differs from the version before it. The logic asks
 * for the rule, never for the version; to support a new version is to add a record.
 */
import type { AuthRules } from "./authorisation.ts";

export interface RoomVersion extends AuthRules {
  readonly version: string;
  /**
   * What an event ID is: `assigned` by its server and part of the event in versions 1 and 2; then
   * the reference hash, in `base64` in version 3 and in `base64url` from version 4 on.
   */
  readonly eventIds: "assigned" | "base64" | "base64url";
  readonly stateResolution: "v1" | "v2" | "v2.1";
  /** From version 5 on a key signs only what bears a time within its validity. */
  readonly keyValidity: boolean;
  /** From version 11 on `m.room.redaction` names the redacted event in its content. */
  readonly redactsInContent: boolean;
  /**
   * From version 11 on an identifier of more than 255 bytes makes an event malformed. Before, an
   * event with one of 255 code points and more bytes is kept as a rejected one.
   */
  readonly identifiersCountBytes: boolean;
  /** What redaction keeps. */
  readonly redaction: RedactionRules;
}

interface RedactionRules {
  /** Top-level keys. */
  readonly keys: ReadonlySet<string>;
  /** Of the content, by event type. */
  readonly content: { readonly [type: string]: Kept };
}

/** What redaction keeps of a value: all of it, or the named members of an object. */
export type Kept = true | { readonly [key: string]: Kept };

const v1: RoomVersion = {
  version: "1",
  eventIds: "assigned",
  stateResolution: "v1",
  keyValidity: false,
  strictCanonicalJson: false,
  identifiersCountBytes: false,
  redactsInContent: false,
  creatorInContent: true,
  privilegedCreators: false,
  roomIdIsCreateEvent: false,
  aliasesAuthRule: true,
  redactionAuthRule: true,
  notificationLevelsAuthRule: false,
  integerPowerLevels: false,
  knock: false,
  restrictedJoin: false,
  knockRestrictedJoin: false,
  redaction: {
    keys: new Set([
      "event_id",
      "type",
      "room_id",
      "sender",
      "state_key",
      "content",
      "hashes",
      "signatures",
      "depth",
      "prev_events",
      "prev_state",
      "auth_events",
      "origin",
      "origin_server_ts",
      "membership",
    ]),
    content: {
      "m.room.member": { membership: true },
      "m.room.create": { creator: true },
      "m.room.join_rules": { join_rule: true },
      "m.room.power_levels": {
        ban: true,
        events: true,
        events_default: true,
        kick: true,
        redact: true,
        state_default: true,
        users: true,
        users_default: true,
      },
      "m.room.aliases": { aliases: true },
      "m.room.history_visibility": { history_visibility: true },
    },
  },
};

const v2: RoomVersion = { ...v1, version: "2", stateResolution: "v2" };

const v3: RoomVersion = { ...v2, version: "3", eventIds: "base64", redactionAuthRule: false };

const v4: RoomVersion = { ...v3, version: "4", eventIds: "base64url" };

const v5: RoomVersion = { ...v4, version: "5", keyValidity: true };

const { "m.room.aliases": _aliases, ...contentWithoutAliases } = v5.redaction.content;

const v6: RoomVersion = {
  ...v5,
  version: "6",
  strictCanonicalJson: true,
  aliasesAuthRule: false,
  notificationLevelsAuthRule: true,
  redaction: { ...v5.redaction, content: contentWithoutAliases },
};

const v7: RoomVersion = { ...v6, version: "7", knock: true };

const v8: RoomVersion = {
  ...v7,
  version: "8",
  restrictedJoin: true,
  redaction: keeping(v7.redaction, { "m.room.join_rules": { allow: true } }),
};

const v9: RoomVersion = {
  ...v8,
  version: "9",
  redaction: keeping(v8.redaction, {
    "m.room.member": { join_authorised_via_users_server: true },
  }),
};

const v10: RoomVersion = {
  ...v9,
  version: "10",
  integerPowerLevels: true,
  knockRestrictedJoin: true,
};

const v11: RoomVersion = {
  ...v10,
  version: "11",
  creatorInContent: false,
  redactsInContent: true,
  identifiersCountBytes: true,
  redaction: {
    ...keeping(v10.redaction, {
      "m.room.create": true,
      "m.room.member": { third_party_invite: { signed: true } },
      "m.room.power_levels": { invite: true },
      "m.room.redaction": { redacts: true },
    }),
    keys: without(v10.redaction.keys, "origin", "membership", "prev_state"),
  },
};

const v12: RoomVersion = {
  ...v11,
  version: "12",
  stateResolution: "v2.1",
  privilegedCreators: true,
  roomIdIsCreateEvent: true,
};

/** Rules that keep more of the content of some types. */
function keeping(rules: RedactionRules, more: RedactionRules["content"]): RedactionRules {
  const content: Record<string, Kept> = { ...rules.content };
  for (const [type, kept] of Object.entries(more)) {
    const before = content[type];
    content[type] = kept === true || before === true ? true : { ...before, ...kept };
  }
  return { ...rules, content };
}

function without(keys: ReadonlySet<string>, ...less: string[]): ReadonlySet<string> {
  return new Set([...keys].filter((key) => !less.includes(key)));
}

/** The version of a room whose creator names none. */
export const DEFAULT_ROOM_VERSION = "12";

/** All supported versions, by the name that a create event gives them. */
export const roomVersions: ReadonlyMap<string, RoomVersion> = new Map(
  [v1, v2, v3, v4, v5, v6, v7, v8, v9, v10, v11, v12].map((v) => [v.version, v]),
);
