/**
 * Sending events and reading room state:
 * https://spec.matrix.org/v1.19/client-server-api/#events
 */
import type { Rooms } from "../server/rooms/rooms.ts";
import { Reply, type Route, route } from "../server/route.ts";
import { type ClientEvents, readTimelineToken } from "../server/timeline/timeline.ts";
import { MatrixError } from "../spec/errors.ts";
import { eventId, isUserId, roomId } from "../spec/identifiers.ts";
import {
  anyObject,
  invalidParam,
  nullable,
  object,
  oneOf,
  optional,
  refine,
  type Shape,
  string,
  text,
  withDefault,
} from "../spec/shape.ts";
import { parseStored } from "../spec/strict-json.ts";
import { contentOf } from "../storage/events.ts";

interface Deps {
  messages: Rooms["messages"];
  membership: Pick<Rooms["membership"], "setMember">;
  reads: Pick<Rooms["reads"], "state" | "stateEvent" | "members" | "joinedMembers">;
  clientEvents: Pick<ClientEvents, "render">;
}

const MAX_EVENT_BYTES = 256 * 1024;

/** U+0000 in a type or state key is refused: no room has use for it, and PostgreSQL none either. */
function withoutNul(shape: Shape<string>): Shape<string> {
  return refine(shape, (value, place) => {
    if (value.includes("\0")) throw invalidParam(place, "holds U+0000");
    return value;
  });
}

const eventType = withoutNul(text({ minBytes: 1, maxBytes: 255 }));
const stateKey = withoutNul(text({ maxBytes: 255 }));
const txnId = withoutNul(text({ minBytes: 1, maxBytes: 255 }));
const membership = oneOf("join", "invite", "knock", "leave", "ban");

export function roomEvents({ messages, membership: members, reads, clientEvents }: Deps): Route[] {
  const setState: Parameters<typeof setStateRoute>[0] = async (caller, at, content) => {
    const { roomId, eventType: type, stateKey: key } = at;
    if (type === "m.room.member") {
      if (!isUserId(key)) throw new MatrixError("M_BAD_JSON", "stateKey: not a user ID");
      return members.setMember({ roomId, sender: caller, target: key, content });
    }
    return messages.setState({ roomId, sender: caller, type, stateKey: key, content });
  };
  const getState: Parameters<typeof getStateRoute>[0] = async (caller, at, format) => {
    const { roomId, eventType: type, stateKey: key } = at;
    const event = await reads.stateEvent(roomId, caller.userId, type, key);
    const [bytes] = await clientEvents.render([event], {
      viewer: viewerOf(caller),
      hasRoomId: true,
      hasPrevious: true,
    });
    if (bytes === undefined) throw new MatrixError("M_NOT_FOUND", "the room has no such state");
    if (format === "event") return new Reply(bytes);
    return (parseStored(bytes.toString()) as { content: unknown }).content;
  };

  return [
    route({
      method: "PUT",
      path: "/_matrix/client/v3/rooms/:roomId/send/:eventType/:txnId",
      aliases: ["/_matrix/client/r0/rooms/:roomId/send/:eventType/:txnId"],
      access: "user",
      params: object({ roomId, eventType, txnId }),
      body: anyObject,
      maxBodyBytes: MAX_EVENT_BYTES,
      rateLimit: "rc_message",
      async handle({ caller, params, body }) {
        const id = await messages.send({
          roomId: params.roomId,
          sender: caller.userId,
          type: params.eventType,
          content: body,
          transaction: { deviceId: caller.deviceId ?? "", txnId: params.txnId },
        });
        return { event_id: id };
      },
    }),
    route({
      method: "PUT",
      path: "/_matrix/client/v3/rooms/:roomId/redact/:eventId/:txnId",
      aliases: ["/_matrix/client/r0/rooms/:roomId/redact/:eventId/:txnId"],
      access: "user",
      params: object({ roomId, eventId, txnId }),
      body: refine(anyObject, (body, place) => {
        object({ reason: nullable(string) }).read(body, place);
        return body;
      }),
      emptyBody: true,
      rateLimit: "rc_message",
      async handle({ caller, params, body }) {
        const { reason } = body;
        const id = await messages.redact({
          roomId: params.roomId,
          sender: caller.userId,
          redacts: params.eventId,
          content: typeof reason === "string" ? { reason } : {},
          transaction: { deviceId: caller.deviceId ?? "", txnId: params.txnId },
        });
        return { event_id: id };
      },
    }),
    setStateRoute(setState, "/_matrix/client/v3/rooms/:roomId/state/:eventType/:stateKey", [
      "/_matrix/client/r0/rooms/:roomId/state/:eventType/:stateKey",
    ]),
    setStateRoute(setState, "/_matrix/client/v3/rooms/:roomId/state/:eventType", [
      "/_matrix/client/v3/rooms/:roomId/state/:eventType/",
      "/_matrix/client/r0/rooms/:roomId/state/:eventType",
      "/_matrix/client/r0/rooms/:roomId/state/:eventType/",
    ]),
    getStateRoute(getState, "/_matrix/client/v3/rooms/:roomId/state/:eventType/:stateKey", [
      "/_matrix/client/r0/rooms/:roomId/state/:eventType/:stateKey",
    ]),
    getStateRoute(getState, "/_matrix/client/v3/rooms/:roomId/state/:eventType", [
      "/_matrix/client/v3/rooms/:roomId/state/:eventType/",
      "/_matrix/client/r0/rooms/:roomId/state/:eventType",
      "/_matrix/client/r0/rooms/:roomId/state/:eventType/",
    ]),
    route({
      method: "GET",
      path: "/_matrix/client/v3/rooms/:roomId/state",
      aliases: ["/_matrix/client/r0/rooms/:roomId/state"],
      access: "user",
      params: object({ roomId }),
      async handle({ caller, params }) {
        const state = await reads.state(params.roomId, caller.userId);
        return new Reply(
          jsonArray(
            await clientEvents.render(state, { viewer: viewerOf(caller), hasRoomId: true }),
          ),
        );
      },
    }),
    route({
      method: "GET",
      path: "/_matrix/client/v3/rooms/:roomId/members",
      aliases: ["/_matrix/client/r0/rooms/:roomId/members"],
      access: "user",
      params: object({ roomId }),
      query: object({
        at: optional(string),
        membership: optional(membership),
        not_membership: optional(membership),
      }),
      async handle({ caller, params, query }) {
        const at = query.at === undefined ? undefined : readTimelineToken(query.at, "query.at");
        const found = await reads.members(params.roomId, caller.userId, at);
        const kept = found.filter((event) => {
          const content = contentOf(event);
          // Given together, they are alternatives.
          return (
            (query.membership === undefined && query.not_membership === undefined) ||
            (query.membership !== undefined && content["membership"] === query.membership) ||
            (query.not_membership !== undefined && content["membership"] !== query.not_membership)
          );
        });
        const chunk = jsonArray(
          await clientEvents.render(kept, { viewer: viewerOf(caller), hasRoomId: true }),
        );
        return new Reply(Buffer.concat([Buffer.from('{"chunk":'), chunk, Buffer.from("}")]));
      },
    }),
    route({
      method: "GET",
      path: "/_matrix/client/v3/rooms/:roomId/joined_members",
      aliases: ["/_matrix/client/r0/rooms/:roomId/joined_members"],
      access: "user",
      params: object({ roomId }),
      async handle({ caller, params }) {
        const joined = await reads.joinedMembers(params.roomId, caller.userId);
        return {
          joined: Object.fromEntries(
            [...joined].map(([id, { displayName, avatarUrl }]) => [
              id,
              {
                ...(displayName === undefined ? {} : { display_name: displayName }),
                ...(avatarUrl === undefined ? {} : { avatar_url: avatarUrl }),
              },
            ]),
          ),
        };
      },
    }),
  ];
}

type UserIdOf = Parameters<Rooms["messages"]["send"]>[0]["sender"];
interface StatePlace {
  roomId: Parameters<Rooms["messages"]["send"]>[0]["roomId"];
  eventType: string;
  stateKey: string;
}

/** A path without a state key is that of the empty one. */
const statePlace = object({ roomId, eventType, stateKey: withDefault(stateKey, "") });

function setStateRoute(
  set: (caller: UserIdOf, at: StatePlace, content: Record<string, unknown>) => Promise<string>,
  path: string,
  aliases: string[],
): Route {
  return route({
    method: "PUT",
    path,
    aliases,
    access: "user",
    params: statePlace,
    body: anyObject,
    maxBodyBytes: MAX_EVENT_BYTES,
    rateLimit: "rc_message",
    async handle({ caller, params, body }) {
      return { event_id: await set(caller.userId, params, body) };
    },
  });
}

function getStateRoute(
  get: (caller: Viewing, at: StatePlace, format: "content" | "event") => Promise<unknown>,
  path: string,
  aliases: string[],
): Route {
  return route({
    method: "GET",
    path,
    aliases,
    access: "user",
    params: statePlace,
    query: object({ format: withDefault(oneOf("content", "event"), "content") }),
    async handle({ caller, params, query }) {
      return get(caller, params, query.format);
    },
  });
}

interface Viewing {
  userId: UserIdOf;
  deviceId?: string;
}

function viewerOf({ userId, deviceId }: Viewing): Viewing {
  return { userId, ...(deviceId === undefined ? {} : { deviceId }) };
}

function jsonArray(items: readonly Buffer[]): Buffer {
  const parts: Buffer[] = [Buffer.from("[")];
  for (const [i, item] of items.entries()) {
    if (i > 0) parts.push(Buffer.from(","));
    parts.push(item);
  }
  parts.push(Buffer.from("]"));
  return Buffer.concat(parts);
}
