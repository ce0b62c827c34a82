/** Objects in the blob store and the rows that point at them: no row without its object, no object for ever without a row. */
import type { Readable } from "node:stream";
import type { Database, Tx } from "../../storage/database.ts";
import { type BlobStore, BlobStoreUnavailable, type ByteRange } from "../../storage/blobs.ts";
import * as storedMedia from "../../storage/media.ts";
import { MatrixError } from "../../spec/errors.ts";

/** After this time in ms an object that no row points at is garbage; longer than any upload takes. */
const WRITING_MS = 24 * 3_600_000;
const BATCH = 100;

export interface WrittenObject {
  blob_key: string;
  size_bytes: number;
  sha256: Buffer;
}

export interface ObjectsDeps {
  database: Pick<Database, "db">;
  blobs: BlobStore;
  clock: () => number;
  random: (bytes: number) => Buffer;
  onError(error: unknown): void;
}

export class Objects {
  readonly #database: Pick<Database, "db">;
  readonly #blobs: BlobStore;
  readonly #clock: () => number;
  readonly #random: (bytes: number) => Buffer;
  readonly #onError: (error: unknown) => void;

  constructor({ database, blobs, clock, random, onError }: ObjectsDeps) {
    this.#database = database;
    this.#blobs = blobs;
    this.#clock = clock;
    this.#random = random;
    this.#onError = onError;
  }

  /**
   * Writes an object and makes a row point at it.
   *
   * @param check looks at the object before that; where it throws, the object is removed
   * @param publish writes the row; where it throws, the object is removed
   * @throws MatrixError M_UNKNOWN with 503 where it cannot be stored now; the source's error
   */
  async write<T>(
    source: Readable,
    publish: (tx: Tx, written: WrittenObject) => Promise<T>,
    check?: (written: WrittenObject) => Promise<void>,
  ): Promise<T> {
    const blob_key = this.#random(16).toString("hex");
    const dueTs = this.#clock() + WRITING_MS;
    try {
      await this.#transaction((tx) => storedMedia.doom(tx, blob_key, dueTs));
      const { sizeBytes, sha256 } = await this.#blobs.put(blob_key, source);
      const written = { blob_key, size_bytes: sizeBytes, sha256 };
      await check?.(written);
      return await this.#transaction(async (tx) => {
        if (!(await storedMedia.spare(tx, blob_key))) {
          throw new BlobStoreUnavailable("it took too long to write an object");
        }
        return publish(tx, written);
      });
    } catch (error) {
      const isAway = error instanceof BlobStoreUnavailable;
      await this.#discard(blob_key, isAway);
      if (!isAway) throw error;
      throw unavailable(503, "The file cannot be stored now", error);
    } finally {
      source.destroy();
    }
  }

  /** @throws MatrixError M_UNKNOWN with 502 or 504 where it cannot be read now; M_NOT_FOUND where it is lost */
  async read(blobKey: string, range?: ByteRange): Promise<Readable> {
    let found: Readable | undefined;
    try {
      found = await this.#blobs.get(blobKey, range);
    } catch (error) {
      if (!(error instanceof BlobStoreUnavailable)) throw error;
      throw unavailable(error.isTimeout ? 504 : 502, "The file cannot be read now", error);
    }
    if (found !== undefined) return found;
    this.#onError(new Error(`the object ${blobKey} is lost: a row points at it`));
    throw new MatrixError("M_NOT_FOUND", "The file is lost");
  }

  /** Removes the objects that no row points at. */
  async collect(): Promise<void> {
    for (;;) {
      const keys = await this.#transaction((tx) =>
        storedMedia.claimDoomed(tx, this.#clock(), BATCH),
      );
      await this.#removeClaimed(keys);
      if (keys.length < BATCH) return;
    }
  }

  /** @param later whether it is left to be collected: a store that is away would keep the client waiting */
  async #discard(blobKey: string, later: boolean): Promise<void> {
    try {
      const now = this.#clock();
      // Not where the commit went through and only its answer was lost.
      const isOurs = await this.#transaction((tx) => storedMedia.claim(tx, blobKey, now));
      if (isOurs && !later) await this.#removeClaimed([blobKey]);
    } catch (error) {
      // It stays doomed, and is collected.
      this.#onError(error);
    }
  }

  async #removeClaimed(keys: readonly string[]): Promise<void> {
    for (const key of keys) await this.#blobs.remove(key);
    await this.#transaction((tx) => storedMedia.forgetDoomed(tx, keys));
  }

  #transaction<T>(work: (tx: Tx) => Promise<T>): Promise<T> {
    return this.#database.db.transaction().execute(work);
  }
}

function unavailable(status: number, message: string, cause: unknown): MatrixError {
  return new MatrixError("M_UNKNOWN", message, { status, cause });
}
