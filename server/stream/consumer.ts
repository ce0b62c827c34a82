/**
 * A durable consumer of the stream: does some work for each entry once, in order, whatever dies when.
 *
 * Its cursor moves in the transaction that holds the work, so work and cursor are both there or both not.
 */
import type { Database, Tx } from "../../storage/database.ts";
import * as storedStream from "../../storage/stream.ts";
import type { Entry, Stream } from "./stream.ts";

export interface Consumer extends AsyncDisposable {
  /** Everything up to here is done. */
  readonly position: number;
  /** Resolves when everything up to a position is done; rejects with the signal's reason. */
  reached(position: number, signal?: AbortSignal): Promise<void>;
  /** Is told, after each batch, that `position` has moved. */
  subscribe(listener: () => void): () => void;
}

export interface ConsumerOptions {
  name: string;
  stream: Stream;
  database: Pick<Database, "db">;
  /**
   * Does a batch's work. What it prepares outside it does before it asks for the transaction.
   *
   * @param commit runs the work's writes and moves the cursor, in one transaction; call it once
   */
  handle(
    entries: readonly Entry[],
    commit: (write: (tx: Tx) => Promise<void>) => Promise<void>,
  ): Promise<void>;
  /** Whether a batch has anything to do; where it has not, the cursor is written only now and then. */
  concerns?(entry: Entry): boolean;
  onError(error: unknown): void;
  /** Where a consumer without a cursor starts: `start` of the stream, or its present `head`. */
  from: "start" | "head";
  batchEntries?: number;
  retryMs?: number;
}

/** Idle entries after which the cursor is written though there was nothing to do. */
const LAZY_CURSOR = 5000;

/** Starts a consumer where it stopped. */
export async function startConsumer(options: ConsumerOptions): Promise<Consumer> {
  const { name, stream, database, concerns = () => true, batchEntries = 500 } = options;
  const { retryMs = 500 } = options;
  let position =
    (await storedStream.findCursor(database.db, name)) ??
    (options.from === "start" ? 0 : stream.position);
  let stored = position;
  const closing = new AbortController();
  let running: Promise<void> | undefined;
  let retry: NodeJS.Timeout | undefined;
  const listeners = new Set<() => void>();
  const waiters = new Set<{ position: number; resolve(): void }>();

  async function commit(to: number, write: (tx: Tx) => Promise<void>): Promise<void> {
    await database.db.transaction().execute(async (tx) => {
      await write(tx);
      await storedStream.putCursor(tx, name, to);
    });
    stored = to;
  }

  async function run(): Promise<void> {
    while (!closing.signal.aborted && position < stream.position) {
      const entries = await stream.read(position, batchEntries);
      const to = entries.at(-1)?.position;
      if (to === undefined) return;
      const relevant = entries.filter(concerns);
      if (relevant.length > 0) {
        await options.handle(relevant, (write) => commit(to, write));
      }
      if (stored < to && (relevant.length > 0 || to - stored >= LAZY_CURSOR)) {
        await commit(to, async () => undefined);
      }
      position = to;
      for (const listener of listeners) listener();
      for (const waiter of waiters) {
        if (waiter.position <= position) {
          waiters.delete(waiter);
          waiter.resolve();
        }
      }
    }
  }

  function wake(): void {
    if (closing.signal.aborted || retry !== undefined) return;
    running ??= run()
      .catch((error: unknown) => {
        options.onError(error);
        retry = setTimeout(() => {
          retry = undefined;
          wake();
        }, retryMs);
      })
      .finally(() => {
        running = undefined;
        if (position < stream.position) wake();
      });
  }

  const unsubscribe = stream.subscribe(wake);
  wake();
  return {
    get position() {
      return position;
    },
    reached(wanted, signal) {
      if (wanted <= position) return Promise.resolve();
      return new Promise((resolve, reject) => {
        const waiter = { position: wanted, resolve };
        waiters.add(waiter);
        signal?.addEventListener(
          "abort",
          () => {
            if (waiters.delete(waiter)) reject(signal.reason as Error);
          },
          { once: true },
        );
      });
    },
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    async [Symbol.asyncDispose]() {
      closing.abort();
      unsubscribe();
      clearTimeout(retry);
      await running;
    },
  };
}
