/** Evaluates push rules over a new event, once for each distinct set of rules. */
import type { UserId } from "../../spec/identifiers.ts";
import { clientFormat } from "../../spec/event-format.ts";
import { evaluatePushRules, notificationOf, type PushOutcome } from "../../spec/push-evaluation.ts";
import { PushEvent } from "../../spec/push-event.ts";
import type { PushRoom } from "../../spec/push-conditions.ts";
import type { Action } from "../../spec/push-rules.ts";
import type { StoredEvent } from "../../storage/events.ts";
import { heldEvent, versionOf } from "../rooms/rooms.ts";
import type { RuleSet, UserSettings } from "./rule-sets.ts";

/** A user for whom an event is evaluated. */
export interface Recipient {
  userId: UserId;
  settings: UserSettings;
  displayName: string | undefined;
}

/** Users to notify with the same actions. */
export interface Notice {
  actions: readonly Action[];
  isHighlight: boolean;
  users: Map<UserId, boolean>;
}

/** The sender is never among those who are notified, nor is who ignores the sender. */
export function evaluate(
  event: StoredEvent,
  room: PushRoom,
  recipients: Iterable<Recipient>,
): Notice[] {
  const { sender } = event;
  const pushEvent = new PushEvent(clientFormat(heldEvent(event), versionOf(event.roomVersion)));
  const outcomes = new Map<RuleSet, PushOutcome>();
  const notices = new Map<readonly Action[], Notice | undefined>();
  for (const { userId, settings, displayName } of recipients) {
    if (userId === sender || settings.ignored.has(sender)) continue;
    const { ruleSet } = settings;
    let outcome = outcomes.get(ruleSet);
    if (outcome === undefined) {
      outcomes.set(ruleSet, (outcome = evaluatePushRules(ruleSet.rules, pushEvent, room)));
    }
    const actions = outcome.actionsFor({ userId, displayName });
    if (actions === undefined) continue;
    if (!notices.has(actions)) notices.set(actions, noticeOf(actions));
    notices.get(actions)?.users.set(userId, false);
  }
  return [...notices.values()].filter((notice) => notice !== undefined);
}

function noticeOf(actions: readonly Action[]): Notice | undefined {
  const { notify, highlight } = notificationOf(actions);
  return notify ? { actions, isHighlight: highlight, users: new Map() } : undefined;
}
