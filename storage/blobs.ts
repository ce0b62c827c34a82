/** Blob stores: where the bytes of media are. `blobs-folder.ts` and `blobs-s3.ts` are two of them. */
import { createHash } from "node:crypto";
import { Readable } from "node:stream";

export interface StoredBlob {
  sizeBytes: number;
  sha256: Buffer;
}

/** A part of an object, both ends included. */
export interface ByteRange {
  start: number;
  end: number;
}

/**
 * Objects under keys of small letters, digits and `-`; a key is written once.
 *
 * Every method rejects with BlobStoreUnavailable where the store cannot do it now.
 */
export interface BlobStore extends AsyncDisposable {
  /**
   * Writes an object; when this resolves it is durable, and until then nobody sees it. What a failed
   * write leaves behind, `remove` removes.
   *
   * @param source is read to its end, and destroyed where writing fails; its error is passed on as it is
   */
  put(key: string, source: Readable): Promise<StoredBlob>;
  /**
   * @param range must lie within the object
   * @returns undefined where there is no such object
   */
  get(key: string, range?: ByteRange): Promise<Readable | undefined>;
  exists(key: string): Promise<boolean>;
  /** Removes an object and what is left of writing it; it is no error that there is none. */
  remove(key: string): Promise<void>;
  /**
   * Rejects where objects cannot be written and read: at start, and for `gomin doctor`.
   *
   * @param key of an object that is written for it and removed
   */
  check(key: string): Promise<void>;
}

/** The store cannot be reached, is too slow, or is full. */
export class BlobStoreUnavailable extends Error {
  override readonly name = "BlobStoreUnavailable";
  readonly isTimeout: boolean;

  constructor(message: string, options: { cause?: unknown; isTimeout?: boolean } = {}) {
    super(message, { cause: options.cause });
    this.isTimeout = options.isTimeout ?? false;
  }
}

/** Counts and hashes what is written. */
export class Measure {
  sizeBytes = 0;
  readonly #hash = createHash("sha256");

  add(chunk: Uint8Array): void {
    this.sizeBytes += chunk.length;
    this.#hash.update(chunk);
  }

  /** Once: the hash is spent. */
  finish(): StoredBlob {
    return { sizeBytes: this.sizeBytes, sha256: this.#hash.digest() };
  }
}

const KEY = /^[a-z0-9-]{8,100}$/;

/** @throws TypeError for a key that might name something else than an object */
export function checkKey(key: string): void {
  if (!KEY.test(key)) throw new TypeError("not the key of an object");
}

/** Writes, reads and removes a small object. */
export async function probe(store: BlobStore, key: string): Promise<void> {
  const text = "Gomin was here";
  try {
    await store.put(key, Readable.from([Buffer.from(text)]));
    const read = await store.get(key);
    const chunks = read === undefined ? [] : await read.toArray();
    if (Buffer.concat(chunks as Buffer[]).toString() !== text) {
      throw new BlobStoreUnavailable("the blob store does not give what was written to it");
    }
  } finally {
    await store.remove(key);
  }
}
