/** Notes when and whence devices are used: in batches, and of each device only now and then. */
import type { Database } from "../../storage/database.ts";
import * as devices from "../../storage/devices.ts";
import type { Sighting } from "../../storage/devices.ts";

/** Times in ms: how old a note may get before a new one is written, and how long one waits for others. */
const INTERVAL_MS = 15 * 60_000;
const BATCH_MS = 5_000;
const MAX_USER_AGENT_CHARS = 255;

export class LastSeen implements AsyncDisposable {
  readonly #database: Pick<Database, "db">;
  readonly #onError: (error: unknown) => void;
  readonly #waiting = new Map<string, Sighting>();
  #timer: NodeJS.Timeout | undefined;
  #writing: Promise<void> = Promise.resolve();

  constructor(database: Pick<Database, "db">, onError: (error: unknown) => void) {
    this.#database = database;
    this.#onError = onError;
  }

  /** Whether a device that was noted at one time should be noted again. */
  isDue(notedTs: number | null, now: number): boolean {
    return notedTs === null || now - notedTs >= INTERVAL_MS;
  }

  note(sighting: Sighting): void {
    this.#waiting.set(`${sighting.userId} ${sighting.deviceId}`, {
      ...sighting,
      userAgent: sighting.userAgent.slice(0, MAX_USER_AGENT_CHARS),
    });
    if (this.#timer !== undefined) return;
    this.#timer = setTimeout(() => {
      this.flush().catch(this.#onError);
    }, BATCH_MS);
    this.#timer.unref();
  }

  /** Writes what waits. */
  async flush(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const batch = [...this.#waiting.values()];
    this.#waiting.clear();
    if (batch.length > 0) {
      this.#writing = this.#database.db.transaction().execute((tx) => devices.touch(tx, batch));
    }
    await this.#writing;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.flush().catch(this.#onError);
  }
}
