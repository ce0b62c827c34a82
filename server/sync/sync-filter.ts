/** A client's filter as `/sync` applies it: https://spec.matrix.org/v1.19/client-server-api/#filtering */
import { MatrixError } from "../../spec/errors.ts";
import {
  compileEventFields,
  compileEventFilter,
  compileRoomFilter,
  type EventMatcher,
  type Filter,
  filter as filterShape,
  type RoomEventFilter,
} from "../../spec/filters.ts";
import type { RoomId, UserId } from "../../spec/identifiers.ts";
import type { JsonObject } from "../../spec/shape.ts";
import { MAX_CLIENT_DEPTH, parseJson } from "../../spec/strict-json.ts";
import type { StoredEvent } from "../../storage/events.ts";
import { clientFields } from "../timeline/timeline.ts";
import type { Filters } from "./ports.ts";

const DEFAULT_TIMELINE_LIMIT = 10;
const MAX_TIMELINE_LIMIT = 500;

export interface SyncFilter {
  includesRoom(roomId: RoomId): boolean;
  includesLeft: boolean;
  timeline: { matches(event: StoredEvent): boolean; limit: number };
  state: { matches(event: StoredEvent): boolean };
  ephemeral: EventMatcher;
  roomAccountData: EventMatcher;
  accountData: EventMatcher;
  presence: EventMatcher;
  /** Whether member events are sent only where they are needed. */
  isLazy: boolean;
  /** Whether they are sent again though the client has them. */
  hasRedundantMembers: boolean;
  hasThreadCounts: boolean;
  format: "client" | "federation";
  prune: ((event: JsonObject) => JsonObject) | undefined;
}

/** What an ID that we gave looks like. */
const FILTER_ID = /^[A-Za-z0-9_-]{1,64}$/;

/**
 * Reads the parameter `filter`: JSON, or the ID of a stored filter.
 *
 * @throws MatrixError M_INVALID_PARAM, M_BAD_JSON or M_NOT_JSON
 */
export async function readFilter(
  filters: Filters,
  userId: UserId,
  text: string | undefined,
): Promise<SyncFilter> {
  if (text === undefined) return NO_FILTER;
  if (text.startsWith("{")) {
    const value = parseJson(Buffer.from(text), { maxDepth: MAX_CLIENT_DEPTH, numbers: "integers" });
    return compile(filterShape.read(value, "filter"));
  }
  const stored = FILTER_ID.test(text) ? await filters.find(userId, text) : undefined;
  if (stored === undefined) throw new MatrixError("M_INVALID_PARAM", "filter: no such filter");
  return compile(filterShape.read(stored, "filter"));
}

function compile({ room = {}, ...filter }: Filter): SyncFilter {
  const includesRoom = compileRoomFilter(room);
  return {
    includesRoom,
    includesLeft: room.include_leave ?? false,
    timeline: {
      matches: eventMatcher(room.timeline),
      limit: Math.min(room.timeline?.limit ?? DEFAULT_TIMELINE_LIMIT, MAX_TIMELINE_LIMIT),
    },
    state: { matches: eventMatcher(room.state) },
    ephemeral: compileEventFilter(withoutRelations(room.ephemeral)),
    roomAccountData: compileEventFilter(withoutRelations(room.account_data)),
    accountData: compileEventFilter(filter.account_data),
    presence: compileEventFilter(filter.presence),
    isLazy: room.state?.lazy_load_members ?? room.timeline?.lazy_load_members ?? false,
    hasRedundantMembers:
      room.state?.include_redundant_members ?? room.timeline?.include_redundant_members ?? false,
    hasThreadCounts: room.timeline?.unread_thread_notifications ?? false,
    format: filter.event_format ?? "client",
    prune: compileEventFields(filter.event_fields),
  };
}

const NO_FILTER = compile({});

function eventMatcher(filter: RoomEventFilter | undefined): (event: StoredEvent) => boolean {
  if (filter === undefined) return () => true;
  const matcher = compileEventFilter(withoutRelations(filter));
  // Content is parsed only where the filter asks for it.
  const asksForContent = filter.contains_url !== undefined;
  return (event) =>
    matcher.matchesRoom(event.roomId) &&
    matcher.matches({
      type: event.type,
      sender: event.sender,
      content: asksForContent ? clientFields(event).content : undefined,
    });
}

/** Conditions on related events belong to searching a room, and are no part of `/sync`. */
function withoutRelations(filter: RoomEventFilter = {}): RoomEventFilter {
  const { related_by_senders: _, related_by_rel_types: __, ...rest } = filter;
  return rest;
}
