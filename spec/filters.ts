/**
 * Filters: https://spec.matrix.org/v1.19/client-server-api/#filtering
 *
 * What a client may upload as a filter, and whether an event passes it.
 */
import { compileGlob } from "./glob.ts";
import { roomId, type RoomId, userId, type UserId } from "./identifiers.ts";
import { parsePropertyPath } from "./property-path.ts";
import {
  array,
  boolean,
  integer,
  isObject,
  object,
  oneOf,
  optional,
  type Shaped,
  text,
} from "./shape.ts";

/** Beyond what any client asks for; each item costs with each event. */
const MAX_TYPES = 500;
const MAX_SENDERS = 1_000;
const MAX_ROOMS = 10_000;
const MAX_FIELDS = 200;

const types = array(text({ maxBytes: 255 }), { max: MAX_TYPES });
const senders = array(userId, { max: MAX_SENDERS });
const rooms = array(roomId, { max: MAX_ROOMS });

const eventFilterFields = {
  limit: optional(integer({ min: 1 })),
  types: optional(types),
  not_types: optional(types),
  senders: optional(senders),
  not_senders: optional(senders),
};

/** https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3useruseridfilter_request_eventfilter */
const eventFilter = object(eventFilterFields);

/** https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3useruseridfilter_request_roomeventfilter */
export const roomEventFilter = object({
  ...eventFilterFields,
  rooms: optional(rooms),
  not_rooms: optional(rooms),
  contains_url: optional(boolean),
  lazy_load_members: optional(boolean),
  include_redundant_members: optional(boolean),
  unread_thread_notifications: optional(boolean),
  // MSC3440; the specification has the list of threads instead, but clients still ask for it
  related_by_senders: optional(senders),
  related_by_rel_types: optional(types),
});

/** A whole filter, as it is uploaded or given to `/sync`. Unknown keys are left out. */
export const filter = object({
  event_fields: optional(array(text({ maxBytes: 1024 }), { max: MAX_FIELDS })),
  event_format: optional(oneOf("client", "federation")),
  presence: optional(eventFilter),
  account_data: optional(eventFilter),
  room: optional(
    object({
      rooms: optional(rooms),
      not_rooms: optional(rooms),
      include_leave: optional(boolean),
      state: optional(roomEventFilter),
      timeline: optional(roomEventFilter),
      ephemeral: optional(roomEventFilter),
      account_data: optional(roomEventFilter),
    }),
  ),
});

export type RoomEventFilter = Shaped<typeof roomEventFilter>;
export type Filter = Shaped<typeof filter>;

/** What a filter reads of an event. Account data and ephemeral events have no sender. */
export interface FilteredEvent {
  readonly type: string;
  readonly sender?: string;
  readonly content?: unknown;
}

/** An event that relates to the one that is filtered. */
export interface Relation {
  readonly sender: string;
  readonly relType: string;
}

export interface EventMatcher {
  /**
   * Whether an event passes.
   *
   * @param relations the events that relate to it; only asked for where `asksForRelations`
   */
  matches(event: FilteredEvent, relations?: Iterable<Relation>): boolean;
  readonly asksForRelations: boolean;
  /** Whether a room passes; to be asked besides `matches` for events in rooms. */
  matchesRoom(room: RoomId): boolean;
}

/** Compiles a filter of events; an absent one lets everything pass. */
export function compileEventFilter(of: RoomEventFilter = {}): EventMatcher {
  const matchesType = allowing(of.types, of.not_types, typeMatcher);
  const matchesSender = allowing<UserId>(of.senders, of.not_senders, setMatcher);
  const matchesRoom = compileRoomFilter(of);
  const relSenders = of.related_by_senders && new Set<string>(of.related_by_senders);
  const relTypes = of.related_by_rel_types && new Set(of.related_by_rel_types);
  const asksForRelations = relSenders !== undefined || relTypes !== undefined;
  const isAsked = ({ sender, relType }: Relation): boolean =>
    relSenders?.has(sender) !== false && relTypes?.has(relType) !== false;

  return {
    asksForRelations,
    matchesRoom,
    matches: ({ type, sender, content }, relations = []) =>
      matchesType(type) &&
      matchesSender(sender) &&
      (of.contains_url === undefined || of.contains_url === containsUrl(content)) &&
      (!asksForRelations || Array.from(relations).some(isAsked)),
  };
}

/** Compiles `rooms` and `not_rooms` of a filter. */
export function compileRoomFilter(of: {
  rooms?: RoomId[] | undefined;
  not_rooms?: RoomId[] | undefined;
}): (room: RoomId) => boolean {
  return allowing<RoomId>(of.rooms, of.not_rooms, setMatcher);
}

type Matcher = (value: string | undefined) => boolean;

/** A list that is absent allows all, an empty one nothing; what is excluded counts more. */
function allowing<T extends string>(
  included: T[] | undefined,
  excluded: T[] | undefined,
  matcherOf: (list: T[]) => Matcher,
): Matcher {
  const isIncluded = included === undefined ? () => true : matcherOf(included);
  const isExcluded = excluded === undefined ? () => false : matcherOf(excluded);
  return (value) => isIncluded(value) && !isExcluded(value);
}

function setMatcher(list: string[]): Matcher {
  const values = new Set(list);
  return (value) => value !== undefined && values.has(value);
}

function typeMatcher(list: string[]): Matcher {
  const isNamed = setMatcher(list);
  const globs = list.filter((type) => type.includes("*")).map((type) => compileGlob(type, "*"));
  return (type) =>
    isNamed(type) || (type !== undefined && globs.some((glob) => glob.matches(type)));
}

function containsUrl(content: unknown): boolean {
  return isObject(content) && Object.hasOwn(content, "url");
}

/** What `event_fields` keeps of an object: all of it, or some of its members. */
type Fields = true | Map<string, Fields>;

/**
 * Compiles `event_fields`: a function that gives an event with those fields only.
 *
 * @returns undefined where the list is absent, or empty, and all fields are kept
 */
export function compileEventFields(
  paths: string[] | undefined,
): (<T extends object>(event: T) => Partial<T>) | undefined {
  if (paths === undefined || paths.length === 0) return undefined;
  const fields: Fields = new Map();
  for (const path of paths) addField(fields, parsePropertyPath(path));
  return (event) => keep(event, fields) as Partial<typeof event>;
}

function addField(fields: Map<string, Fields>, names: readonly string[]): void {
  let within = fields;
  for (const [i, name] of names.entries()) {
    const known = within.get(name);
    if (known === true) return;
    if (i === names.length - 1) within.set(name, true);
    else {
      const next = known ?? new Map<string, Fields>();
      within.set(name, next);
      within = next;
    }
  }
}

/** Undefined where a value has none of the fields. As deep as the longest path. */
function keep(value: unknown, fields: Fields): unknown {
  if (fields === true) return value;
  if (!isObject(value)) return undefined;
  const kept = [...fields]
    .filter(([name]) => Object.hasOwn(value, name))
    .map(([name, within]): [string, unknown] => [name, keep(value[name], within)])
    .filter(([, member]) => member !== undefined);
  return Object.fromEntries(kept);
}
