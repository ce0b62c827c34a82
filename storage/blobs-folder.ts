/** A blob store in a folder: an object appears whole, by renaming, once it is on disk. */
import { type FileHandle, mkdir, open, rename, rm, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Readable } from "node:stream";
import {
  type BlobStore,
  BlobStoreUnavailable,
  checkKey,
  Measure,
  probe,
  type StoredBlob,
} from "./blobs.ts";

/** @param root the folder; made where it is not there */
export function openBlobFolder(root: string): BlobStore {
  const store: BlobStore = {
    async put(key, source) {
      const path = pathOf(root, key);
      try {
        const stored = await write(partOf(path), source);
        await attempt(() => rename(partOf(path), path));
        await syncFolder(dirname(path));
        return stored;
      } finally {
        source.destroy();
      }
    },
    async get(key, range) {
      const file = await orUndefined(open(pathOf(root, key), "r"));
      return file?.createReadStream({ highWaterMark: 256 * 1024, ...range });
    },
    async exists(key) {
      return (await orUndefined(stat(pathOf(root, key)))) !== undefined;
    },
    async remove(key) {
      const path = pathOf(root, key);
      await attempt(() => rm(partOf(path), { force: true }));
      await attempt(() => rm(path, { force: true }));
    },
    check: (key) => probe(store, key),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
  return store;
}

/** Writes a file that is on disk when this resolves. */
async function write(path: string, source: Readable): Promise<StoredBlob> {
  const measure = new Measure();
  await makeFolder(dirname(path));
  const file = await attempt(() => open(path, "wx", 0o600));
  try {
    for await (const chunk of source as AsyncIterable<Buffer>) {
      measure.add(chunk);
      await attempt(() => writeAll(file, chunk));
    }
    await attempt(() => file.sync());
  } finally {
    await file.close();
  }
  return measure.finish();
}

/** Two levels of folders, for file systems that are slow with many files in one. */
function pathOf(root: string, key: string): string {
  checkKey(key);
  return join(root, key.slice(0, 2), key.slice(2, 4), key);
}

function partOf(path: string): string {
  return `${path}.part`;
}

/** Makes a folder and those above it that are missing, each on disk in the one that holds it. */
async function makeFolder(folder: string): Promise<void> {
  const first = await attempt(() => mkdir(folder, { recursive: true, mode: 0o700 }));
  if (first === undefined) return;
  const top = dirname(first);
  for (let at = dirname(folder); at.length >= top.length; at = dirname(at)) await syncFolder(at);
}

async function syncFolder(folder: string): Promise<void> {
  await attempt(async () => {
    const handle = await open(folder, "r");
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  });
}

async function writeAll(file: FileHandle, chunk: Uint8Array): Promise<void> {
  for (let at = 0; at < chunk.length;) {
    const { bytesWritten } = await file.write(chunk, at);
    at += bytesWritten;
  }
}

async function attempt<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    throw new BlobStoreUnavailable("the media folder cannot be used", { cause });
  }
}

async function orUndefined<T>(work: Promise<T>): Promise<T | undefined> {
  try {
    return await work;
  } catch (cause) {
    if (cause instanceof Error && Reflect.get(cause, "code") === "ENOENT") return undefined;
    throw new BlobStoreUnavailable("the media folder cannot be used", { cause });
  }
}
