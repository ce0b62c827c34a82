/** `presence` of an answer: https://spec.matrix.org/v1.19/client-server-api/#presence */
import type { EventMatcher } from "../../spec/filters.ts";
import type { UserId } from "../../spec/identifiers.ts";
import type { JsonObject } from "../../spec/shape.ts";
import type { ActiveUser, Memberships } from "../memberships/memberships.ts";
import type { Presence } from "./ports.ts";

export interface PresenceEvent {
  type: "m.presence";
  sender: UserId;
  content: JsonObject;
}

/** Users whose rooms are looked up at a time. */
const PAGE = 20;

/**
 * The presence of users who share a room with the reader, who is one of them.
 *
 * @param changed whose presence is news; undefined: of all who are present
 */
export async function presenceEvents(
  presence: Pick<Presence, "list" | "present">,
  memberships: Pick<Memberships, "load" | "shareRoom">,
  reader: ActiveUser,
  changed: Iterable<UserId> | undefined,
  filter: EventMatcher,
): Promise<PresenceEvent[]> {
  const candidates = [...(changed ?? (await presence.present()))].filter((sender) =>
    filter.matches({ type: "m.presence", sender }),
  );
  const shown: UserId[] = [];
  for (let i = 0; i < candidates.length; i += PAGE) {
    const page = candidates.slice(i, i + PAGE);
    const users = await Promise.all(page.map((userId) => memberships.load(userId)));
    for (const user of users) if (memberships.shareRoom(reader, user)) shown.push(user.userId);
  }
  if (shown.length === 0) return [];
  const contents = await presence.list(shown);
  return shown.flatMap((sender) => {
    const content = contents.get(sender);
    return content === undefined ? [] : [{ type: "m.presence", sender, content }];
  });
}
