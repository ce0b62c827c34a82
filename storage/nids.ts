/** Compact integers for rooms, events and snapshots, taken from PostgreSQL in blocks of 1,000. */
import { sql } from "kysely";
import type { Database } from "./database.ts";

const BLOCK = 1000;

export interface Nids {
  /** The next nid: unique over all processes, never given twice, in no order that means anything. */
  next(): Promise<number>;
  /** Several at once. */
  take(count: number): Promise<number[]>;
}

/** Nids from the sequence of sql/0001-stream.sql. */
export function openNids(database: Pick<Database, "db">): Nids {
  let at = 0;
  let end = 0;
  let refill: Promise<void> | undefined;

  async function load(): Promise<void> {
    const { rows } = await sql<{ last: number }>`select nextval('nids') as last`.execute(
      database.db,
    );
    const last = rows[0]?.last;
    if (last === undefined) throw new Error("the sequence of nids gave nothing");
    at = last - BLOCK + 1;
    end = last;
  }

  async function next(): Promise<number> {
    while (at >= end) {
      refill ??= load().finally(() => {
        refill = undefined;
      });
      await refill;
    }
    return at++;
  }

  return {
    next,
    async take(count) {
      const taken: number[] = [];
      while (taken.length < count) taken.push(at < end ? at++ : await next());
      return taken;
    },
  };
}
