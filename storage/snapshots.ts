/**
 * Snapshots of room state: packed pairs of integers, a delta on a parent or full.
 * Table: sql/0002-rooms.sql.
 */
import { sql } from "kysely";
import type { Db } from "./database.ts";

/** Bytes of one pair: 4 of the state key's nid, 6 of the event's, little-endian, ordered by key. */
const PAIR_BYTES = 10;

/** A snapshot as stored: the state, or what differs from its parent's. */
export interface SnapshotNode {
  nid: number;
  roomNid: number;
  /** Undefined: `pairs` is the whole state. */
  parentNid: number | undefined;
  /** How many changes it is away from the full snapshot at the end of its chain. */
  chainLength: number;
  pairs: Buffer;
}

export function packPairs(pairs: Iterable<readonly [keyNid: number, eventNid: number]>): Buffer {
  const sorted = [...pairs].sort(([a], [b]) => a - b);
  const bytes = Buffer.allocUnsafe(sorted.length * PAIR_BYTES);
  let at = 0;
  for (const [key, event] of sorted) {
    bytes.writeUInt32LE(key, at);
    bytes.writeUIntLE(event, at + 4, 6);
    at += PAIR_BYTES;
  }
  return bytes;
}

/** How many pairs are packed. */
export function countPairs(pairs: Buffer): number {
  return pairs.length / PAIR_BYTES;
}

export function* unpackPairs(pairs: Buffer): Generator<[keyNid: number, eventNid: number]> {
  for (let at = 0; at < pairs.length; at += PAIR_BYTES) {
    yield [pairs.readUInt32LE(at), pairs.readUIntLE(at + 4, 6)];
  }
}

/** The event of one key, by binary search. */
export function findPair(pairs: Buffer, keyNid: number): number | undefined {
  let low = 0;
  let high = countPairs(pairs) - 1;
  while (low <= high) {
    const middle = (low + high) >>> 1;
    const key = pairs.readUInt32LE(middle * PAIR_BYTES);
    if (key === keyNid) return pairs.readUIntLE(middle * PAIR_BYTES + 4, 6);
    if (key < keyNid) low = middle + 1;
    else high = middle - 1;
  }
  return undefined;
}

/** Snapshots with all their ancestors, down to the full ones; in no order. */
export async function listChains(db: Db, nids: readonly number[]): Promise<SnapshotNode[]> {
  if (nids.length === 0) return [];
  const { rows } = await sql<{
    nid: number;
    room_nid: number;
    parent_nid: number | null;
    chain_length: number;
    pairs: Buffer;
  }>`
    with recursive chain as (
      select nid, room_nid, parent_nid, chain_length, pairs from snapshots
      where nid = any(${[...nids]}::bigint[])
      union
      select s.nid, s.room_nid, s.parent_nid, s.chain_length, s.pairs
      from snapshots s join chain on s.nid = chain.parent_nid
    )
    select * from chain`.execute(db);
  return rows.map((row) => ({
    nid: row.nid,
    roomNid: row.room_nid,
    parentNid: row.parent_nid ?? undefined,
    chainLength: row.chain_length,
    pairs: row.pairs,
  }));
}
