/**
 * The stream writer: group commit. One a process, with one commit in flight.
 *
 * Whatever is appended while a commit is under way goes into the next one. A batch whose units are
 * rows of events only is a single statement, in which the stream's head is locked, the rows are
 * written and the commit follows; where a unit brings more to write, it is a transaction that starts
 * with that statement. A unit that fails fails alone: its batch is rolled back and tried in halves.
 */
import { setImmediate } from "node:timers/promises";
import { Kysely, PostgresDialect } from "kysely";
import { type Database, sqlState, type Tables, type Tx } from "./database.ts";
import { bulkStatement, type EventRows, mergeRows, type MergedRows } from "./event-rows.ts";
import type { Entry, NewEntry } from "./stream.ts";

/** Something to append: entries, and what must commit with them. */
export interface Unit<T> {
  /** They get consecutive positions, in this order. */
  entries: readonly NewEntry[];
  /** Rows of events, written in the batch's one statement. */
  rows?: EventRows;
  /**
   * Anything else, inside the transaction. It holds up every other writer, so all that can be
   * prepared before must be. It may be called again after a rollback.
   */
  write?(tx: Tx, positions: readonly number[]): Promise<T>;
}

export interface Appended<T> {
  positions: readonly number[];
  result: T;
}

/** A range of the stream, `(from, to]`, as it was committed. */
export interface Committed {
  from: number;
  to: number;
  epoch: number;
  entries: Entry[];
}

/** Another writer was first: a room's head, or a row that had to be as it was read, has moved. */
export class ConflictError extends Error {
  override readonly name = "ConflictError";
}

/** The database could not be reached, or went away before it answered: the outcome is not known. */
export class UnavailableError extends Error {
  override readonly name = "UnavailableError";
}

export interface StreamWriter extends AsyncDisposable {
  /**
   * Appends and commits; resolves when it is on disk and this process's consumers have been told.
   *
   * @throws ConflictError when the unit lost a race, UnavailableError when the database is away,
   *   or what `write` threw; then nothing of the unit was written (Unavailable: perhaps it was)
   */
  append<T = undefined>(unit: Unit<T>): Promise<Appended<T>>;
}

interface Queued {
  unit: Unit<unknown>;
  resolve(appended: Appended<unknown>): void;
  reject(error: unknown): void;
}

/** Most stream entries of one commit. */
const MAX_BATCH_ENTRIES = 512;
/** SQLSTATEs of a race that was lost: ours, a unique key, a deadlock, a serialization failure. */
const CONFLICTS = new Set(["GM001", "23505", "40P01", "40001"]);

/**
 * @param onCommit is told of each commit, in order, before the appenders are
 */
export function openStreamWriter(
  database: Pick<Database, "connect">,
  onCommit: (committed: Committed) => void,
): StreamWriter {
  let queue: Queued[] = [];
  let running: Promise<void> | undefined;
  let connection: Connection | undefined;
  let isClosed = false;

  async function run(): Promise<void> {
    // Requests that arrived in the same turn of the event loop join the first batch.
    await setImmediate();
    while (queue.length > 0) {
      let entries = 0;
      let count = 0;
      for (const { unit } of queue) {
        entries += unit.entries.length;
        if (count > 0 && entries > MAX_BATCH_ENTRIES) break;
        count += 1;
      }
      const batch = queue.slice(0, count);
      queue = queue.slice(count);
      await settle(batch);
    }
  }

  /** Commits a batch; where that fails, its halves, in order, down to the units that are to blame. */
  async function settle(batch: Queued[]): Promise<void> {
    try {
      connection ??= await connect(database);
      const { committed, appended } = await connection.commit(batch.map(({ unit }) => unit));
      onCommit(committed);
      batch.forEach(({ resolve }, i) => resolve(appended[i] as Appended<unknown>));
    } catch (error) {
      if (connection?.isBroken !== false) {
        const broken = connection;
        connection = undefined;
        void broken?.close();
        const unavailable = new UnavailableError("the database did not answer", { cause: error });
        for (const { reject } of batch) reject(unavailable);
      } else if (batch.length === 1) {
        batch[0]?.reject(translate(error));
      } else {
        const half = Math.ceil(batch.length / 2);
        await settle(batch.slice(0, half));
        await settle(batch.slice(half));
      }
    }
  }

  return {
    append<T>(unit: Unit<T>) {
      if (isClosed) return Promise.reject(new UnavailableError("the stream writer is closed"));
      return new Promise<Appended<T>>((resolve, reject) => {
        queue.push({ unit, resolve: resolve as Queued["resolve"], reject });
        running ??= run().finally(() => {
          running = undefined;
        });
      });
    },
    async [Symbol.asyncDispose]() {
      isClosed = true;
      await running;
      await connection?.close();
    },
  };
}

function translate(error: unknown): unknown {
  const state = sqlState(error);
  if (state !== undefined && CONFLICTS.has(state)) {
    return new ConflictError((error as Error).message, { cause: error });
  }
  return error;
}

interface Connection {
  readonly isBroken: boolean;
  commit(units: Unit<unknown>[]): Promise<{ committed: Committed; appended: Appended<unknown>[] }>;
  close(): Promise<void>;
}

async function connect(database: Pick<Database, "connect">): Promise<Connection> {
  const client = await database.connect();
  let isBroken = false;
  const onError = () => {
    isBroken = true;
  };
  client.on("error", onError);
  client.on("end", onError);
  // A Kysely over this one connection: `write` sees the open transaction and nothing else.
  const tx = new Kysely<Tables>({
    dialect: new PostgresDialect({
      pool: {
        connect: async () => ({
          query: client.query.bind(client),
          release: () => undefined,
        }),
        end: async () => undefined,
      },
    }),
  }) as unknown as Tx;

  async function statement(
    entries: readonly NewEntry[],
    rows: MergedRows,
  ): Promise<{ base: number; epoch: number }> {
    const { rows: found } = await client.query<{ base: number; epoch: number }>(
      bulkStatement(entries, rows),
    );
    const head = found[0];
    if (head === undefined) throw new Error("the stream has no head");
    return head;
  }

  return {
    get isBroken() {
      return isBroken;
    },
    async commit(units) {
      const entries = units.flatMap((unit) => unit.entries);
      const rows = mergeRows(units);
      const results: unknown[] = units.map(() => undefined);
      let head: { base: number; epoch: number };
      if (units.every((unit) => unit.write === undefined)) {
        head = await statement(entries, rows);
      } else {
        await client.query("begin");
        try {
          head = await statement(entries, rows);
          let at = head.base;
          for (const [i, unit] of units.entries()) {
            const first = at;
            at += unit.entries.length;
            results[i] = await unit.write?.(
              tx,
              unit.entries.map((_, j) => first + j + 1),
            );
          }
          await client.query("commit");
        } catch (error) {
          await client.query("rollback").catch(onError);
          throw error;
        }
      }
      let at = head.base;
      const appended = units.map((unit, i) => ({
        positions: unit.entries.map(() => ++at),
        result: results[i],
      }));
      const committed: Committed = {
        from: head.base,
        to: head.base + entries.length,
        epoch: head.epoch,
        entries: entries.map((entry, i) => ({ ...entry, position: head.base + i + 1 })),
      };
      return { committed, appended };
    },
    async close() {
      await client.end().catch(onError);
    },
  };
}
