/**
 * History: pages of messages, single events and their context, relations and threads.
 * https://spec.matrix.org/v1.19/client-server-api/#getting-events-for-a-room
 */
import type { Relations } from "../server/relations/relations.ts";
import { Reply, type Route, route } from "../server/route.ts";
import {
  type ClientEvents,
  type Pages,
  timelineToken,
  type Viewer,
  type VisibleEvent,
  writeTimelineToken,
} from "../server/timeline/timeline.ts";
import { MatrixError } from "../spec/errors.ts";
import { compileEventFilter, roomEventFilter } from "../spec/filters.ts";
import { eventId, roomId, type UserId } from "../spec/identifiers.ts";
import { plainText } from "../spec/plain-text.ts";
import {
  invalidParam,
  object,
  oneOf,
  optional,
  queryBoolean,
  queryInteger,
  refine,
  type Shape,
  string,
  withDefault,
} from "../spec/shape.ts";
import { MAX_CLIENT_DEPTH, parseJson } from "../spec/strict-json.ts";
import type { StoredEvent } from "../storage/events.ts";

interface Deps {
  pages: Pages;
  relations: Relations;
  clientEvents: Pick<ClientEvents, "render">;
}

const DEFAULT_LIMIT = 10;
/** A larger limit is brought down to it. */
const MAX_LIMIT = 1000;

const limit = refine(queryInteger({ min: 0 }), (value) => Math.min(value, MAX_LIMIT));

/** A filter as JSON in a query parameter. */
const filter: Shape<ReturnType<typeof roomEventFilter.read>> = {
  read(value, place) {
    const bytes = Buffer.from(string.read(value, place));
    return roomEventFilter.read(parseJson(bytes, { maxDepth: MAX_CLIENT_DEPTH }), place);
  },
};

export function roomHistory({ pages, relations, clientEvents }: Deps): Route[] {
  const render = (seen: readonly (StoredEvent | VisibleEvent)[], viewer: Viewer) =>
    clientEvents.render(seen, { viewer, hasRoomId: true, hasPrevious: true, hasBundles: true });
  const relationsQuery = object({
    from: optional(timelineToken),
    to: optional(timelineToken),
    limit: optional(limit),
    dir: withDefault(oneOf("b", "f"), "b"),
    recurse: withDefault(queryBoolean, false),
  });
  const relType = plainText();
  const relationsRoute = <P extends { relType?: string; eventType?: string }>(
    path: string,
    params: Shape<
      P & { roomId: ReturnType<typeof roomId.read>; eventId: ReturnType<typeof eventId.read> }
    >,
  ): Route =>
    route({
      method: "GET",
      path,
      aliases: [path.replace("/v1/", "/unstable/")],
      access: "user",
      params,
      query: relationsQuery,
      async handle({ caller, params, query }) {
        const page = await relations.page(params.roomId, params.eventId, caller.userId, {
          relType: params.relType,
          eventType: params.eventType,
          direction: query.dir === "f" ? "forward" : "backward",
          from: query.from,
          to: query.to,
          limit: Math.max(1, query.limit ?? DEFAULT_LIMIT),
          recurse: query.recurse,
        });
        const chunk = await render(page.events, viewerOf(caller));
        return jsonReply([
          ["chunk", chunk],
          ["next_batch", page.next && writeTimelineToken(page.next)],
          ["prev_batch", query.from && writeTimelineToken(query.from)],
          ["recursion_depth", query.recurse ? page.depth : undefined],
        ]);
      },
    });

  return [
    route({
      method: "GET",
      path: "/_matrix/client/v3/rooms/:roomId/messages",
      aliases: ["/_matrix/client/r0/rooms/:roomId/messages"],
      access: "user",
      params: object({ roomId }),
      query: object({
        from: optional(timelineToken),
        to: optional(timelineToken),
        dir: oneOf("b", "f"),
        limit: optional(limit),
        filter: optional(filter),
      }),
      async handle({ caller, params, query }) {
        const direction = query.dir === "f" ? "forward" : "backward";
        const page = await pages.messages(params.roomId, caller.userId, {
          direction,
          from: query.from,
          to: query.to,
          limit: Math.max(1, query.limit ?? query.filter?.limit ?? DEFAULT_LIMIT),
          matcher: roomMatcher(query.filter, params.roomId),
        });
        const viewer = viewerOf(caller);
        const state = query.filter?.lazy_load_members === true ? await lazyMembers(page.seen) : [];
        const first = page.seen[0]?.event.order;
        return jsonReply([
          ["start", writeTimelineToken(query.from ?? first ?? { position: 0, offset: 1 })],
          ["end", page.end && writeTimelineToken(page.end)],
          ["chunk", await render(page.seen, viewer)],
          ["state", state.length === 0 ? undefined : await render(state, viewer)],
        ]);
      },
    }),
    route({
      method: "GET",
      path: "/_matrix/client/v3/rooms/:roomId/event/:eventId",
      aliases: ["/_matrix/client/r0/rooms/:roomId/event/:eventId"],
      access: "user",
      params: object({ roomId, eventId }),
      async handle({ caller, params }) {
        const seen = await pages.event(params.roomId, caller.userId, params.eventId);
        const [bytes] = await render([seen], viewerOf(caller));
        if (bytes === undefined) throw new MatrixError("M_NOT_FOUND", "no such event");
        return new Reply(bytes);
      },
    }),
    route({
      method: "GET",
      path: "/_matrix/client/v3/rooms/:roomId/context/:eventId",
      aliases: ["/_matrix/client/r0/rooms/:roomId/context/:eventId"],
      access: "user",
      params: object({ roomId, eventId }),
      query: object({ limit: optional(limit), filter: optional(filter) }),
      async handle({ caller, params, query }) {
        const context = await pages.context(params.roomId, caller.userId, params.eventId, {
          limit: query.limit ?? DEFAULT_LIMIT,
          matcher: roomMatcher(query.filter, params.roomId),
        });
        const viewer = viewerOf(caller);
        const senders = [context.event, ...context.before, ...context.after].map(
          ({ event }) => event.sender,
        );
        const state =
          context.stateSnapshot === undefined
            ? []
            : await pages.stateAt(
                context.stateSnapshot,
                query.filter?.lazy_load_members === true ? senders : undefined,
              );
        const [event] = await render([context.event], viewer);
        return jsonReply([
          ["start", writeTimelineToken(context.start)],
          ["end", writeTimelineToken(context.end)],
          ["events_before", await render(context.before, viewer)],
          ["event", event],
          ["events_after", await render(context.after, viewer)],
          ["state", await clientEvents.render(state, { viewer, hasRoomId: true })],
        ]);
      },
    }),
    relationsRoute(
      "/_matrix/client/v1/rooms/:roomId/relations/:eventId",
      object({ roomId, eventId }),
    ),
    relationsRoute(
      "/_matrix/client/v1/rooms/:roomId/relations/:eventId/:relType",
      object({ roomId, eventId, relType }),
    ),
    relationsRoute(
      "/_matrix/client/v1/rooms/:roomId/relations/:eventId/:relType/:eventType",
      object({ roomId, eventId, relType, eventType: relType }),
    ),
    route({
      method: "GET",
      path: "/_matrix/client/v1/rooms/:roomId/threads",
      aliases: ["/_matrix/client/unstable/org.matrix.msc3856/rooms/:roomId/threads"],
      access: "user",
      params: object({ roomId }),
      query: object({
        include: withDefault(oneOf("all", "participated"), "all"),
        limit: optional(refine(queryInteger({ min: 1 }), (value) => Math.min(value, 100))),
        from: optional(threadToken()),
      }),
      async handle({ caller, params, query }) {
        const page = await relations.threads(params.roomId, caller.userId, {
          participated: query.include === "participated",
          from: query.from,
          limit: query.limit ?? DEFAULT_LIMIT,
        });
        return jsonReply([
          ["chunk", await render(page.events, viewerOf(caller))],
          ["next_batch", page.next === undefined ? undefined : `th${page.next.toString(36)}`],
        ]);
      },
    }),
  ];

  /** The member events of the senders of a page, as they were. */
  async function lazyMembers(seen: readonly VisibleEvent[]): Promise<StoredEvent[]> {
    const members = new Map<UserId, StoredEvent>();
    const wanted = new Set(seen.map(({ event }) => event.sender));
    for (const { event } of seen) {
      if (!wanted.delete(event.sender) || event.snapshotAfter === undefined) continue;
      for (const member of await pages.membersAt(event.snapshotAfter, [event.sender])) {
        members.set(event.sender, member);
      }
    }
    return [...members.values()];
  }
}

/** Where a list of threads goes on: the position of the last root's latest reply. */
function threadToken(): Shape<number> {
  return refine(string, (value, place) => {
    const [, position] = /^th([0-9a-z]{1,10})$/.exec(value) ?? [];
    if (position === undefined) throw invalidParam(place, "not a token of this server");
    return parseInt(position, 36);
  });
}

function roomMatcher(
  filter: Parameters<typeof compileEventFilter>[0],
  room: ReturnType<typeof roomId.read>,
): ReturnType<typeof compileEventFilter> {
  const matcher = compileEventFilter(filter);
  return matcher.matchesRoom(room) ? matcher : { ...matcher, matches: () => false };
}

function viewerOf({ userId, deviceId }: { userId: UserId; deviceId?: string }): Viewer {
  return { userId, deviceId };
}

type Part = Buffer | readonly Buffer[] | string | number | undefined;

/** An object of events that are JSON already, and of plain values; undefined members are left out. */
function jsonReply(members: readonly (readonly [key: string, value: Part])[]): Reply {
  const parts: Buffer[] = [];
  for (const [key, value] of members) {
    if (value === undefined) continue;
    parts.push(Buffer.from(`${parts.length === 0 ? "{" : ","}${JSON.stringify(key)}:`));
    if (Buffer.isBuffer(value)) parts.push(value);
    else if (typeof value === "object") {
      const list = value.flatMap((item, i) => (i === 0 ? [item] : [Buffer.from(","), item]));
      parts.push(Buffer.from("["), ...list, Buffer.from("]"));
    } else parts.push(Buffer.from(JSON.stringify(value)));
  }
  parts.push(Buffer.from("}"));
  return new Reply(Buffer.concat(parts));
}
