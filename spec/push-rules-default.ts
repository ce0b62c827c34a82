/** Predefined rules: https://spec.matrix.org/v1.19/client-server-api/#predefined-rules */
import type { Action, PushCondition, PushRule } from "./push-rules.ts";

const SOUND: Action = { set_tweak: "sound", value: "default" };
const HIGHLIGHT: Action = { set_tweak: "highlight" };

/** The one rule that stands above those of the user. */
export const MASTER_RULE: PushRule = { ...rule(".m.rule.master", [], []), enabled: false };

/**
 * The server-default override rules below those of the user, the most important first.
 *
 * @param ownUserId what stands for the Matrix ID of the user
 */
export function defaultOverrideRules(ownUserId: unknown): PushRule[] {
  return [
    rule(".m.rule.suppress_notices", [matches("content.msgtype", "m.notice")], []),
    rule(
      ".m.rule.invite_for_me",
      [
        matches("type", "m.room.member"),
        matches("content.membership", "invite"),
        matches("state_key", ownUserId),
      ],
      ["notify", SOUND],
    ),
    rule(".m.rule.member_event", [matches("type", "m.room.member")], []),
    rule(
      ".m.rule.is_user_mention",
      [
        {
          kind: "event_property_contains",
          key: "content.m\\.mentions.user_ids",
          value: ownUserId,
        },
      ],
      ["notify", SOUND, HIGHLIGHT],
    ),
    rule(
      ".m.rule.is_room_mention",
      [
        { kind: "event_property_is", key: "content.m\\.mentions.room", value: true },
        { kind: "sender_notification_permission", key: "room" },
      ],
      ["notify", HIGHLIGHT],
    ),
    rule(
      ".m.rule.tombstone",
      [matches("type", "m.room.tombstone"), matches("state_key", "")],
      ["notify", HIGHLIGHT],
    ),
    rule(".m.rule.reaction", [matches("type", "m.reaction")], []),
    rule(
      ".m.rule.room.server_acl",
      [matches("type", "m.room.server_acl"), matches("state_key", "")],
      [],
    ),
    rule(
      ".m.rule.suppress_edits",
      [{ kind: "event_property_is", key: "content.m\\.relates_to.rel_type", value: "m.replace" }],
      [],
    ),
  ];
}

const ONE_TO_ONE: PushCondition = { kind: "room_member_count", is: "2" };

/** The server-default underride rules, the most important first. */
export const DEFAULT_UNDERRIDE_RULES: readonly PushRule[] = [
  rule(
    ".m.rule.call",
    [matches("type", "m.call.invite")],
    ["notify", { set_tweak: "sound", value: "ring" }],
  ),
  rule(
    ".m.rule.encrypted_room_one_to_one",
    [ONE_TO_ONE, matches("type", "m.room.encrypted")],
    ["notify", SOUND],
  ),
  rule(
    ".m.rule.room_one_to_one",
    [ONE_TO_ONE, matches("type", "m.room.message")],
    ["notify", SOUND],
  ),
  rule(".m.rule.message", [matches("type", "m.room.message")], ["notify"]),
  rule(".m.rule.encrypted", [matches("type", "m.room.encrypted")], ["notify"]),
];

function rule(ruleId: string, conditions: PushCondition[], actions: Action[]): PushRule {
  return { rule_id: ruleId, default: true, enabled: true, conditions, actions };
}

function matches(key: string, pattern: unknown): PushCondition {
  return { kind: "event_match", key, pattern };
}
