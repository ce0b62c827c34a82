/** Syncing: https://spec.matrix.org/v1.19/client-server-api/#syncing */
import { Reply, type Route, route } from "../server/route.ts";
import type { Sync } from "../server/sync/sync.ts";
import { object, oneOf, optional, queryBoolean, queryInteger, text } from "../spec/shape.ts";

/** Filters are part of the URL, which has a bound of its own. */
const MAX_FILTER_BYTES = 64 * 1024;

export function syncing(sync: Pick<Sync, "sync">): Route[] {
  return [
    route({
      method: "GET",
      path: "/_matrix/client/v3/sync",
      aliases: ["/_matrix/client/r0/sync"],
      access: "user",
      longPoll: true,
      query: object({
        since: optional(text({ maxBytes: 255 })),
        filter: optional(text({ maxBytes: MAX_FILTER_BYTES })),
        full_state: optional(queryBoolean),
        set_presence: optional(oneOf("offline", "online", "unavailable")),
        timeout: optional(queryInteger({ min: 0 })),
        use_state_after: optional(queryBoolean),
        "org.matrix.msc4222.use_state_after": optional(queryBoolean),
      }),
      async handle(call) {
        const { caller, query } = call;
        const isUnstable = query["org.matrix.msc4222.use_state_after"] === true;
        const body = await sync.sync(caller, {
          since: query.since,
          filter: query.filter === "" ? undefined : query.filter,
          isFullState: query.full_state,
          setPresence: query.set_presence,
          timeoutMs: query.timeout,
          stateName:
            query.use_state_after === true
              ? "state_after"
              : isUnstable
                ? "org.matrix.msc4222.state_after"
                : "state",
          signal: call.signal,
        });
        return new Reply(body);
      },
    }),
  ];
}
