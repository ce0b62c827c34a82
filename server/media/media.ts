/**
 * Media: files that users upload, and those of other servers.
 * https://spec.matrix.org/v1.19/client-server-api/#content-repository
 */
import type { MxcUri, ServerName, UserId } from "../../spec/identifiers.ts";
import type { BlobStore } from "../../storage/blobs.ts";
import type { Database, Tx } from "../../storage/database.ts";
import * as storedMedia from "../../storage/media.ts";
import { repeat } from "../repeating.ts";
import { Arrivals } from "./arrivals.ts";
import { Downloads, type Wanted } from "./downloads.ts";
import { Intake } from "./intake.ts";
import { type MediaFile, storedFile } from "./media-file.ts";
import { Objects } from "./objects.ts";
import type { RemoteMedia } from "./remote-media.ts";
import { type FileId, keyOf, type MediaSettings } from "./rules.ts";
import type { Scanner } from "./scanner.ts";
import type { ThumbnailRequest } from "./thumbnail-size.ts";
import { openThumbnailer, type Thumbnailer } from "./thumbnailer.ts";
import { Thumbnails } from "./thumbnails.ts";
import { type Upload, type Uploader, Uploads } from "./uploads.ts";

export type { MediaFile } from "./media-file.ts";
export { noRemoteMedia, type RemoteFile, type RemoteMedia } from "./remote-media.ts";
export type { MediaSettings } from "./rules.ts";
export type { Scanner } from "./scanner.ts";

export interface MediaDeps {
  settings: MediaSettings;
  database: Pick<Database, "db">;
  blobs: BlobStore;
  /** Absent: one of its own. */
  thumbnailer?: Thumbnailer;
  remote: RemoteMedia;
  scanner?: Scanner | undefined;
  isLocal: (serverName: ServerName) => boolean;
  /** ms since the epoch. */
  clock: () => number;
  random: (bytes: number) => Buffer;
  onError(error: unknown): void;
}

const COLLECTING = { firstMs: 60_000, everyMs: 600_000 };
const DAY_MS = 24 * 3_600_000;
const BATCH = 100;

export class Media implements AsyncDisposable {
  readonly maxUploadBytes: number;
  readonly #database: Pick<Database, "db">;
  readonly #clock: () => number;
  readonly #objects: Objects;
  readonly #uploads: Uploads;
  readonly #downloads: Downloads;
  readonly #thumbnails: Thumbnails;
  readonly #onError: (error: unknown) => void;
  readonly #owned: AsyncDisposable[];

  constructor(deps: MediaDeps) {
    const { settings, database, onError, thumbnailer = openThumbnailer() } = deps;
    const objects = new Objects(deps);
    const intake = new Intake(objects, deps.scanner);
    const arrivals = new Arrivals({ database, onError });
    this.maxUploadBytes = settings.maxUploadBytes;
    this.#database = database;
    this.#clock = deps.clock;
    this.#onError = onError;
    this.#objects = objects;
    this.#uploads = new Uploads({ ...deps, intake, arrivals });
    this.#downloads = new Downloads({ ...deps, intake, arrivals });
    const maxPixels = settings.maxImagePixels;
    this.#thumbnails = new Thumbnails({ database, objects, thumbnailer, maxPixels, onError });
    const collecting = repeat(() => this.collect(), { ...COLLECTING, onError });
    this.#owned = [collecting, arrivals, thumbnailer];
  }

  /** Creates a file whose content comes later, by `uploadTo`. */
  create(by: Uploader): Promise<{ contentUri: MxcUri; unusedExpiresTs: number }> {
    return this.#uploads.create(by);
  }

  /** Takes a file in; when this resolves it is durable. */
  upload(by: Uploader, upload: Upload): Promise<MxcUri> {
    return this.#uploads.upload(by, upload);
  }

  /** Takes in the content of a file that the same user created. */
  uploadTo(by: Uploader, to: FileId, upload: Upload): Promise<void> {
    return this.#uploads.uploadTo(by, to, upload);
  }

  /**
   * @param wanted.fileName in place of the one that the file was uploaded with
   * @throws MatrixError M_NOT_FOUND, M_NOT_YET_UPLOADED
   */
  async download(wanted: Wanted & { fileName?: string | undefined }): Promise<MediaFile> {
    const row = await this.#downloads.get(wanted);
    const fileName = wanted.fileName ?? row.file_name ?? undefined;
    return storedFile(this.#objects, row, row.content_type, fileName);
  }

  /**
   * @throws MatrixError M_NOT_FOUND, M_NOT_YET_UPLOADED; M_UNKNOWN where there can be no thumbnail of
   *   this file; M_TOO_LARGE; M_LIMIT_EXCEEDED where too many are being made
   */
  async thumbnail(wanted: Wanted & ThumbnailRequest): Promise<MediaFile> {
    return this.#thumbnails.get(await this.#downloads.get(wanted), wanted);
  }

  /** Withdraws a file from everybody, or gives it back. @returns whether there is such a file */
  quarantine(file: FileId, by: UserId | undefined): Promise<boolean> {
    return this.#transaction((tx) => storedMedia.quarantine(tx, keyOf(file), by ?? null));
  }

  /** Removes a file and its thumbnails for good. @returns whether there was one */
  async remove(file: FileId): Promise<boolean> {
    const now = this.#clock();
    const isRemoved = await this.#transaction((tx) => storedMedia.remove(tx, keyOf(file), now));
    if (isRemoved) await this.#collectNow();
    return isRemoved;
  }

  /** Removes files of other servers that nobody read since a time. @returns how many */
  async removeUnreadRemote(beforeTs: number): Promise<number> {
    for (let removed = 0; ;) {
      const keys = await storedMedia.listUnread(this.#database.db, beforeTs, BATCH);
      const now = this.#clock();
      for (const key of keys) await this.#transaction((tx) => storedMedia.remove(tx, key, now));
      await this.#collectNow();
      removed += keys.length;
      if (keys.length < BATCH) return removed;
    }
  }

  /** Removes what was created and never uploaded, and the objects that belong to no file. */
  async collect(): Promise<void> {
    // A day later: an upload that began in time may still be on its way.
    const before = this.#clock() - DAY_MS;
    await this.#transaction((tx) => storedMedia.removeExpired(tx, before));
    await this.#objects.collect();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const owned of this.#owned) await owned[Symbol.asyncDispose]();
  }

  /** What cannot be removed now is removed later. */
  async #collectNow(): Promise<void> {
    await this.#objects.collect().catch(this.#onError);
  }

  #transaction<T>(work: (tx: Tx) => Promise<T>): Promise<T> {
    return this.#database.db.transaction().execute(work);
  }
}
