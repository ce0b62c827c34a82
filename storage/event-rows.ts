/**
 * Rows of events and of what follows from them, and the one statement that writes a batch of them.
 * Tables: sql/0001-stream.sql, sql/0002-rooms.sql.
 */
import type { EventId, RoomId, UserId } from "../spec/identifiers.ts";
import type { NewEntry } from "./stream.ts";
import type { Membership } from "./rooms.ts";

/** An event to insert. `entry` is the index of its stream entry in its unit; undefined: no position. */
export interface NewEvent {
  entry: number | undefined;
  nid: number;
  eventId: EventId;
  roomNid: number;
  /** For history without a stream position. */
  order?: { position: number; offset: number };
  type: string;
  stateKey: string | undefined;
  sender: UserId;
  originServerTs: number;
  depth: number;
  snapshotBefore: number | undefined;
  snapshotAfter: number | undefined;
  relatesTo: EventId | undefined;
  relType: string | undefined;
  containsUrl: boolean;
  rejected?: string;
  softFailed?: boolean;
  redactedBy?: EventId;
  json: string;
}

/** The head of a room after a unit; written only where the head is still the one it was built on. */
export interface NewHead {
  nid: number;
  fromVersion: number;
  toVersion: number;
  forwardExtremities: readonly number[];
  snapshotNid: number;
  depth: number;
}

export interface NewRoom extends Omit<NewHead, "fromVersion" | "toVersion"> {
  roomId: RoomId;
  roomVersion: string;
  creator: UserId;
  headVersion: number;
  isPublished: boolean;
  createdTs: number;
}

export interface NewSnapshot {
  nid: number;
  roomNid: number;
  parentNid: number | undefined;
  chainLength: number;
  pairs: Buffer;
}

/** An entry of current state that is no membership. */
export interface NewState {
  roomNid: number;
  type: string;
  stateKey: string;
  eventNid: number;
}

export interface NewMembership {
  roomNid: number;
  userId: UserId;
  membership: Membership;
  eventNid: number;
  sender: UserId;
  isLocal: boolean;
  /** The index of its stream entry in its unit. */
  entry: number;
  /** Whether the membership changed, and not only the profile in it. */
  isChange: boolean;
}

export interface NewTransaction {
  userId: UserId;
  deviceId: string;
  scope: string;
  txnId: string;
  eventId: EventId;
  createdTs: number;
}

export interface EventRows {
  events?: readonly NewEvent[];
  rooms?: readonly NewRoom[];
  heads?: readonly NewHead[];
  snapshots?: readonly NewSnapshot[];
  states?: readonly NewState[];
  memberships?: readonly NewMembership[];
  transactions?: readonly NewTransaction[];
  /** Redactions that now apply: the redacted event, and by which. */
  redactions?: readonly { eventId: EventId; roomNid: number; redactedBy: EventId }[];
}

export interface MergedRows {
  events: NewEvent[];
  rooms: NewRoom[];
  heads: NewHead[];
  snapshots: NewSnapshot[];
  states: NewState[];
  memberships: NewMembership[];
  transactions: NewTransaction[];
  redactions: { eventId: EventId; roomNid: number; redactedBy: EventId }[];
}

/**
 * The rows of a batch: entries are numbered over the batch, and where several units write the same
 * row of a head, of state or of a membership, the last one's values with the first one's condition.
 */
export function mergeRows(
  units: readonly { entries: readonly NewEntry[]; rows?: EventRows }[],
): MergedRows {
  const events: NewEvent[] = [];
  const rooms = new Map<number, NewRoom>();
  const heads = new Map<number, NewHead>();
  const snapshots: NewSnapshot[] = [];
  const states = new Map<string, NewState>();
  const memberships = new Map<string, NewMembership>();
  const transactions: NewTransaction[] = [];
  const redactions: MergedRows["redactions"] = [];
  let base = 0;
  for (const { entries, rows } of units) {
    for (const event of rows?.events ?? []) {
      events.push(event.entry === undefined ? event : { ...event, entry: base + event.entry });
    }
    for (const room of rows?.rooms ?? []) rooms.set(room.nid, room);
    for (const head of rows?.heads ?? []) {
      const room = rooms.get(head.nid);
      const before = heads.get(head.nid);
      if (room !== undefined && room.headVersion === head.fromVersion) {
        rooms.set(head.nid, { ...room, ...head, headVersion: head.toVersion });
      } else if (before !== undefined && before.toVersion === head.fromVersion) {
        heads.set(head.nid, { ...head, fromVersion: before.fromVersion });
      } else {
        // Not built on the batch's own head: its condition cannot hold, and the batch falls apart.
        heads.set(head.nid, before === undefined ? head : { ...head, fromVersion: -1 });
      }
    }
    snapshots.push(...(rows?.snapshots ?? []));
    for (const state of rows?.states ?? []) {
      states.set(`${state.roomNid}\0${state.type}\0${state.stateKey}`, state);
    }
    for (const row of rows?.memberships ?? []) {
      const key = `${row.roomNid}\0${row.userId}`;
      const before = memberships.get(key);
      memberships.set(key, {
        ...row,
        entry: base + row.entry,
        isChange: row.isChange || before?.isChange === true,
      });
    }
    transactions.push(...(rows?.transactions ?? []));
    for (const redaction of rows?.redactions ?? []) {
      // A statement does not see the rows that it inserts, so a target of this batch is marked itself.
      const at = events.findIndex((event) => event.eventId === redaction.eventId);
      const target = events[at];
      if (target === undefined) redactions.push(redaction);
      else if (target.roomNid === redaction.roomNid && target.redactedBy === undefined) {
        events[at] = { ...target, redactedBy: redaction.redactedBy };
      }
    }
    base += entries.length;
  }
  return {
    events,
    rooms: [...rooms.values()],
    heads: [...heads.values()],
    snapshots,
    states: [...states.values()],
    memberships: [...memberships.values()],
    transactions,
    redactions,
  };
}

/** Columns of one `unnest`: a PostgreSQL type each, and the values of a row. */
type Columns<T> = readonly (readonly [name: string, type: string, value: (row: T) => unknown])[];

const ENTRY: Columns<{ entry: NewEntry; ordinal: number }> = [
  ["ordinal", "int8", (r) => r.ordinal],
  ["kind", "text", (r) => r.entry.kind],
  ["room_id", "text", (r) => r.entry.roomId ?? null],
  ["user_id", "text", (r) => r.entry.userId ?? null],
  ["device_id", "text", (r) => r.entry.deviceId ?? null],
  ["event_nid", "int8", (r) => r.entry.eventNid ?? null],
  ["data", "text", (r) => (r.entry.data === undefined ? null : JSON.stringify(r.entry.data))],
];
const EVENT: Columns<NewEvent> = [
  ["ordinal", "int8", (r) => (r.entry === undefined ? null : r.entry + 1)],
  ["nid", "int8", (r) => r.nid],
  ["event_id", "text", (r) => r.eventId],
  ["room_nid", "int8", (r) => r.roomNid],
  ["order_position", "int8", (r) => r.order?.position ?? null],
  ["order_offset", "int8", (r) => r.order?.offset ?? 0],
  ["type", "text", (r) => r.type],
  ["state_key", "text", (r) => r.stateKey ?? null],
  ["sender", "text", (r) => r.sender],
  ["origin_server_ts", "int8", (r) => r.originServerTs],
  ["depth", "int8", (r) => r.depth],
  ["snapshot_before", "int8", (r) => r.snapshotBefore ?? null],
  ["snapshot_after", "int8", (r) => r.snapshotAfter ?? null],
  ["relates_to", "text", (r) => r.relatesTo ?? null],
  ["rel_type", "text", (r) => r.relType ?? null],
  ["contains_url", "bool", (r) => r.containsUrl],
  ["rejected", "text", (r) => r.rejected ?? null],
  ["soft_failed", "bool", (r) => r.softFailed ?? false],
  ["redacted_by", "text", (r) => r.redactedBy ?? null],
  ["json", "text", (r) => r.json],
];
const HEAD: Columns<NewHead> = [
  ["nid", "int8", (r) => r.nid],
  ["from_version", "int8", (r) => r.fromVersion],
  ["to_version", "int8", (r) => r.toVersion],
  ["forward_extremities", "text", (r) => `{${r.forwardExtremities.join(",")}}`],
  ["snapshot_nid", "int8", (r) => r.snapshotNid],
  ["depth", "int8", (r) => r.depth],
];
const ROOM: Columns<NewRoom> = [
  ["nid", "int8", (r) => r.nid],
  ["room_id", "text", (r) => r.roomId],
  ["room_version", "text", (r) => r.roomVersion],
  ["creator", "text", (r) => r.creator],
  ["head_version", "int8", (r) => r.headVersion],
  ["forward_extremities", "text", (r) => `{${r.forwardExtremities.join(",")}}`],
  ["snapshot_nid", "int8", (r) => r.snapshotNid],
  ["depth", "int8", (r) => r.depth],
  ["is_published", "bool", (r) => r.isPublished],
  ["created_ts", "int8", (r) => r.createdTs],
];
const SNAPSHOT: Columns<NewSnapshot> = [
  ["nid", "int8", (r) => r.nid],
  ["room_nid", "int8", (r) => r.roomNid],
  ["parent_nid", "int8", (r) => r.parentNid ?? null],
  ["chain_length", "int4", (r) => r.chainLength],
  ["pairs", "bytea", (r) => r.pairs],
];
const STATE: Columns<NewState> = [
  ["room_nid", "int8", (r) => r.roomNid],
  ["type", "text", (r) => r.type],
  ["state_key", "text", (r) => r.stateKey],
  ["event_nid", "int8", (r) => r.eventNid],
];
const MEMBERSHIP: Columns<NewMembership> = [
  ["ordinal", "int8", (r) => r.entry + 1],
  ["is_change", "bool", (r) => r.isChange],
  ["room_nid", "int8", (r) => r.roomNid],
  ["user_id", "text", (r) => r.userId],
  ["membership", "text", (r) => r.membership],
  ["event_nid", "int8", (r) => r.eventNid],
  ["sender", "text", (r) => r.sender],
  ["is_local", "bool", (r) => r.isLocal],
];
const TRANSACTION: Columns<NewTransaction> = [
  ["user_id", "text", (r) => r.userId],
  ["device_id", "text", (r) => r.deviceId],
  ["scope", "text", (r) => r.scope],
  ["txn_id", "text", (r) => r.txnId],
  ["event_id", "text", (r) => r.eventId],
  ["created_ts", "int8", (r) => r.createdTs],
];
const REDACTION: Columns<MergedRows["redactions"][number]> = [
  ["event_id", "text", (r) => r.eventId],
  ["room_nid", "int8", (r) => r.roomNid],
  ["redacted_by", "text", (r) => r.redactedBy],
];

/**
 * The statement that takes the head, writes a batch and gives `base`, the position before its first.
 *
 * Each part joins the head's row, so that the head is always locked before any room's row: two
 * processes cannot wait for each other. The statement's name is the set of its parts, so PostgreSQL
 * plans each set once.
 */
export function bulkStatement(
  entries: readonly NewEntry[],
  rows: MergedRows,
): { name: string; text: string; values: unknown[] } {
  const values: unknown[] = [entries.length];
  const parts: string[] = [];
  const checks: string[] = [];
  let name = "append";

  function unnest<T>(columns: Columns<T>, of: readonly T[]): string {
    const arrays = columns.map(([, type, value]) => {
      values.push(of.map(value));
      return `$${values.length}::${type}[]`;
    });
    return `unnest(${arrays.join(",")}) as u(${columns.map(([column]) => column).join(",")})`;
  }
  function part<T>(
    key: string,
    columns: Columns<T>,
    of: readonly T[],
    text: (u: string) => string,
  ): void {
    if (of.length === 0) return;
    name += `-${key}`;
    parts.push(`${key} as (${text(unnest(columns, of))} returning 1)`);
  }
  function mustWriteAll(key: string, of: readonly unknown[], what: string): void {
    if (of.length === 0) return;
    values.push(of.length);
    checks.push(`expect((select count(*) from ${key}), $${values.length}::int8, '${what}')`);
  }

  part(
    "stream",
    ENTRY,
    entries.map((entry, i) => ({ entry, ordinal: i + 1 })),
    (u) =>
      `insert into stream (position, kind, room_id, user_id, device_id, event_nid, data)
       select head.base + u.ordinal, u.kind, u.room_id, u.user_id, u.device_id, u.event_nid, u.data
       from head, ${u}`,
  );
  part(
    "rooms",
    ROOM,
    rows.rooms,
    (u) =>
      `insert into rooms (nid, room_id, room_version, creator, head_version, forward_extremities,
         snapshot_nid, depth, is_published, created_ts)
       select u.nid, u.room_id, u.room_version, u.creator, u.head_version,
         u.forward_extremities::bigint[], u.snapshot_nid, u.depth, u.is_published, u.created_ts
       from head, ${u}`,
  );
  part(
    "heads",
    HEAD,
    rows.heads,
    (u) =>
      `update rooms set head_version = u.to_version, snapshot_nid = u.snapshot_nid, depth = u.depth,
         forward_extremities = u.forward_extremities::bigint[]
       from head, ${u} where rooms.nid = u.nid and rooms.head_version = u.from_version`,
  );
  mustWriteAll("heads", rows.heads, "room head");
  part(
    "events",
    EVENT,
    rows.events,
    (u) =>
      `insert into events (nid, event_id, room_nid, position, order_position, order_offset, type,
         state_key, sender, origin_server_ts, depth, snapshot_before, snapshot_after, relates_to,
         rel_type, contains_url, rejected, soft_failed, redacted_by, json)
       select u.nid, u.event_id, u.room_nid, head.base + u.ordinal,
         coalesce(u.order_position, head.base + u.ordinal), u.order_offset, u.type,
         u.state_key, u.sender, u.origin_server_ts, u.depth, u.snapshot_before, u.snapshot_after,
         u.relates_to, u.rel_type, u.contains_url, u.rejected, u.soft_failed, u.redacted_by, u.json
       from head, ${u}`,
  );
  part(
    "snapshots",
    SNAPSHOT,
    rows.snapshots,
    (u) =>
      `insert into snapshots (nid, room_nid, parent_nid, chain_length, pairs)
       select u.nid, u.room_nid, u.parent_nid, u.chain_length, u.pairs from head, ${u}`,
  );
  part(
    "states",
    STATE,
    rows.states,
    (u) =>
      `insert into current_state (room_nid, type, state_key, event_nid)
       select u.room_nid, u.type, u.state_key, u.event_nid from head, ${u}
       on conflict (room_nid, type, state_key) do update set event_nid = excluded.event_nid`,
  );
  part(
    "memberships",
    MEMBERSHIP,
    rows.memberships,
    (u) =>
      `insert into memberships (room_nid, user_id, membership, event_nid, sender, is_local, since,
         position, forgotten)
       select u.room_nid, u.user_id, u.membership, u.event_nid, u.sender, u.is_local,
         case when u.is_change then head.base + u.ordinal else coalesce(
           (select m.since from memberships m where m.room_nid = u.room_nid and m.user_id = u.user_id),
           head.base + u.ordinal) end,
         head.base + u.ordinal, false
       from head, ${u}
       on conflict (room_nid, user_id) do update set membership = excluded.membership,
         event_nid = excluded.event_nid, sender = excluded.sender, since = excluded.since,
         position = excluded.position, forgotten = false`,
  );
  part(
    "transactions",
    TRANSACTION,
    rows.transactions,
    (u) =>
      `insert into transactions (user_id, device_id, scope, txn_id, event_id, created_ts)
       select u.user_id, u.device_id, u.scope, u.txn_id, u.event_id, u.created_ts from head, ${u}`,
  );
  part(
    "redactions",
    REDACTION,
    rows.redactions,
    (u) =>
      `update events set redacted_by = u.redacted_by
       from head, ${u} where events.event_id = u.event_id and events.room_nid = u.room_nid
         and events.redacted_by is null`,
  );

  const text = `with head as (
      update stream_head set position = position + $1::int8
      where only_row returning position - $1::int8 as base, epoch
    ), ${parts.join(", ")}
    select ${["head.base", "head.epoch", ...checks].join(", ")} from head`;
  return { name, text, values };
}
