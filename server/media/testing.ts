/** Media on a database and in a folder of their own. */
import { randomBytes } from "node:crypto";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { openBlobFolder } from "../../storage/blobs-folder.ts";
import { openTestDatabase, type TestDatabase } from "../../storage/testing.ts";
import { Media, type MediaDeps, type MediaSettings, noRemoteMedia } from "./media.ts";
import type { Upload, Uploader } from "./uploads.ts";

export const HERE = "here.example";
export const alice: Uploader = { userId: `@alice:${HERE}`, isGuest: false, isSuspended: false };
export const bob: Uploader = { userId: `@bob:${HERE}`, isGuest: false, isSuspended: false };

export interface MediaWorld extends AsyncDisposable {
  database: TestDatabase;
  /** What failed in the background. */
  errors: unknown[];
  /** Time in ms since the epoch, moved by tests. */
  clock: { now: number };
  /** Media on the same database and folder: another process, or other settings. */
  open(
    options?: Partial<Omit<MediaDeps, "settings">> & { settings?: Partial<MediaSettings> },
  ): Media;
  /** The files in the folder. */
  listFiles(): Promise<string[]>;
}

export async function openMediaWorld(): Promise<MediaWorld> {
  const database = await openTestDatabase();
  const folder = await mkdtemp(join(tmpdir(), "gomin-media-"));
  const errors: unknown[] = [];
  const opened: Media[] = [];
  const clock = { now: Date.now() };
  return {
    database,
    errors,
    clock,
    open({ settings, ...options } = {}) {
      const media = new Media({
        settings: {
          serverName: HERE,
          maxUploadBytes: 200_000,
          maxImagePixels: 1_000_000,
          maxPendingUploads: 3,
          unusedExpirationMs: 3_600_000,
          requiresAuthentication: true,
          ...settings,
        },
        database,
        blobs: openBlobFolder(folder),
        remote: noRemoteMedia,
        isLocal: (name) => name === HERE,
        clock: () => clock.now,
        random: randomBytes,
        onError: (error) => errors.push(error),
        ...options,
      });
      opened.push(media);
      return media;
    },
    async listFiles() {
      const entries = await readdir(folder, { recursive: true, withFileTypes: true });
      return entries.filter((entry) => entry.isFile()).map((entry) => entry.name);
    },
    async [Symbol.asyncDispose]() {
      for (const media of opened) await media[Symbol.asyncDispose]();
      await database[Symbol.asyncDispose]();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

export function upload(bytes: string | Uint8Array, more: Partial<Upload> = {}): Upload {
  const body = Readable.from([Buffer.from(bytes)], { objectMode: false });
  return { contentType: "text/plain", fileName: undefined, body, ...more };
}

/** The parts of an `mxc://` URI. */
export function partsOf(uri: string): { serverName: string; mediaId: string } {
  const [, , serverName = "", mediaId = ""] = uri.split("/");
  return { serverName, mediaId };
}
