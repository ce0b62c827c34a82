/** Listing notifications: https://spec.matrix.org/v1.19/client-server-api/#listing-notifications */
import { type Route, route } from "../server/route.ts";
import type { Unread } from "../server/unread/unread.ts";
import {
  invalidParam,
  object,
  optional,
  queryInteger,
  refine,
  string,
  withDefault,
} from "../spec/shape.ts";

const DEFAULT_LIMIT = 20;
const MAX_LIMIT = 100;

/** Where a page starts, as it was given with the one before. */
const token = refine(string, (value, place) => {
  const [, position] = /^n([0-9a-z]{1,11})$/.exec(value) ?? [];
  const read = position === undefined ? NaN : parseInt(position, 36);
  if (!Number.isSafeInteger(read)) throw invalidParam(place, "not a token of this server");
  return read;
});

export function notifications(unread: Pick<Unread, "notifications">): Route[] {
  return [
    route({
      method: "GET",
      path: "/_matrix/client/v3/notifications",
      aliases: ["/_matrix/client/r0/notifications"],
      access: "user",
      query: object({
        from: optional(token),
        limit: withDefault(queryInteger({ min: 1 }), DEFAULT_LIMIT),
        only: optional(string),
      }),
      async handle({ caller, query }) {
        const page = await unread.notifications(caller, {
          before: query.from,
          isHighlight: query.only === "highlight",
          limit: Math.min(query.limit, MAX_LIMIT),
        });
        return {
          notifications: page.notifications.map(({ actions, event, isRead, roomId, ts }) => ({
            actions,
            event,
            read: isRead,
            room_id: roomId,
            ts,
          })),
          ...(page.next === undefined ? {} : { next_token: `n${page.next.toString(36)}` }),
        };
      },
    }),
  ];
}
