/** Waits for files that were created and are not uploaded yet, by whatever process they come. */
import type { Database } from "../../storage/database.ts";
import * as storedMedia from "../../storage/media.ts";
import type { MediaKey } from "../../storage/media.ts";

/** Most that wait at once, in one process. */
const MAX_WAITING = 10_000;

interface Wait {
  key: MediaKey;
  wake(): void;
}

export class Arrivals implements AsyncDisposable {
  readonly #db: Database["db"];
  readonly #pollMs: number;
  readonly #onError: (error: unknown) => void;
  readonly #waits = new Set<Wait>();
  #timer: NodeJS.Timeout | undefined;
  #polling: Promise<void> | undefined;

  constructor(options: {
    database: Pick<Database, "db">;
    pollMs?: number;
    onError(error: unknown): void;
  }) {
    this.#db = options.database.db;
    this.#pollMs = options.pollMs ?? 1000;
    this.#onError = options.onError;
  }

  /** Resolves when a file may be there, or its time is over; rejects with the signal's reason. */
  wait(key: MediaKey, timeoutMs: number, signal: AbortSignal | undefined): Promise<void> {
    signal?.throwIfAborted();
    if (timeoutMs <= 0 || this.#waits.size >= MAX_WAITING) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const end = (): void => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", onAbort);
        this.#waits.delete(wait);
      };
      const wait = {
        key,
        wake() {
          end();
          resolve();
        },
      };
      const onAbort = (): void => {
        end();
        reject(signal?.reason as Error);
      };
      const timer = setTimeout(wait.wake, timeoutMs);
      signal?.addEventListener("abort", onAbort);
      this.#waits.add(wait);
      this.#schedule();
    });
  }

  /** A file came by this process. */
  announce(key: MediaKey): void {
    for (const wait of this.#waits) if (isSame(wait.key, key)) wait.wake();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearTimeout(this.#timer);
    for (const wait of this.#waits) wait.wake();
    await this.#polling;
  }

  #schedule(): void {
    if (this.#timer !== undefined || this.#waits.size === 0) return;
    this.#timer = setTimeout(() => {
      this.#polling = this.#poll()
        .catch(this.#onError)
        .finally(() => {
          this.#timer = undefined;
          this.#schedule();
        });
    }, this.#pollMs).unref();
  }

  async #poll(): Promise<void> {
    const waits = [...this.#waits];
    const keys = waits.map(({ key }) => key);
    for (const settled of await storedMedia.listSettled(this.#db, keys)) this.announce(settled);
  }
}

function isSame(a: MediaKey, b: MediaKey): boolean {
  return a.media_id === b.media_id && a.server_name === b.server_name;
}
