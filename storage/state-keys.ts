/** State keys: each (type, state key) has a compact integer. Table: sql/0002-rooms.sql. */
import { sql } from "kysely";
import type { Db } from "./database.ts";

export interface Place {
  type: string;
  stateKey: string;
}

/** The nids of places, in the same order; new places are given one. They are never removed. */
export async function ensure(db: Db, places: readonly Place[]): Promise<number[]> {
  const found = await find(db, places);
  const missing = places.filter((_, i) => found[i] === undefined);
  if (missing.length > 0) {
    // Sorted, so that two processes which add the same ones do not wait for each other.
    const sorted = missing.toSorted((a, b) =>
      `${a.type}\0${a.stateKey}` < `${b.type}\0${b.stateKey}` ? -1 : 1,
    );
    await sql`
      insert into state_keys (type, state_key)
      select * from unnest(${sorted.map((p) => p.type)}::text[], ${sorted.map((p) => p.stateKey)}::text[])
      on conflict do nothing`.execute(db);
    return (await find(db, places)).map((nid) => {
      if (nid === undefined) throw new Error("a state key that was just written is not there");
      return nid;
    });
  }
  return found as number[];
}

/** The nids of places, in the same order; undefined for a place no room ever had. */
export async function find(db: Db, places: readonly Place[]): Promise<(number | undefined)[]> {
  if (places.length === 0) return [];
  const { rows } = await sql<{ nid: number; type: string; state_key: string }>`
    select k.nid, k.type, k.state_key from state_keys k
    join unnest(${places.map((p) => p.type)}::text[], ${places.map((p) => p.stateKey)}::text[])
      as u(type, state_key) on k.type = u.type and k.state_key = u.state_key`.execute(db);
  const nids = new Map(rows.map((row) => [`${row.type}\0${row.state_key}`, row.nid]));
  return places.map((p) => nids.get(`${p.type}\0${p.stateKey}`));
}

/** The places of nids, in no order. */
export async function listByNids(
  db: Db,
  nids: readonly number[],
): Promise<(Place & { nid: number })[]> {
  if (nids.length === 0) return [];
  const { rows } = await sql<{ nid: number; type: string; state_key: string }>`
    select nid, type, state_key from state_keys where nid = any(${[...nids]}::int[])`.execute(db);
  return rows.map((row) => ({ nid: row.nid, type: row.type, stateKey: row.state_key }));
}
