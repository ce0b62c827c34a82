/** Uploads: https://spec.matrix.org/v1.19/client-server-api/#post_matrixmediav3upload */
import type { Readable } from "node:stream";
import { MatrixError } from "../../spec/errors.ts";
import type { MxcUri, ServerName, UserId } from "../../spec/identifiers.ts";
import type { Database, Tx } from "../../storage/database.ts";
import * as storedMedia from "../../storage/media.ts";
import type { MediaContent, MediaKey } from "../../storage/media.ts";
import { type Caller, ClientGone } from "../route.ts";
import type { Arrivals } from "./arrivals.ts";
import { receive } from "./incoming.ts";
import type { AboutFile, Intake } from "./intake.ts";
import { type FileId, isExpired, keyOf, type MediaSettings, mxcOf } from "./rules.ts";

/** Who uploads. */
export type Uploader = Pick<Caller, "userId" | "isGuest" | "isSuspended">;

/** A file on its way in. */
export interface Upload extends AboutFile {
  body: Readable;
  signal?: AbortSignal | undefined;
}

export interface UploadsDeps {
  settings: MediaSettings;
  database: Pick<Database, "db">;
  intake: Intake;
  arrivals: Arrivals;
  isLocal: (serverName: ServerName) => boolean;
  clock: () => number;
  random: (bytes: number) => Buffer;
}

/** Uploads at a time, of one user and in this process: each holds some megabytes. */
const MAX_RUNNING_OF_USER = 8;
const MAX_RUNNING = 128;

export class Uploads {
  readonly #deps: UploadsDeps;
  readonly #running = new Map<UserId, number>();
  #runningOfAll = 0;

  constructor(deps: UploadsDeps) {
    this.#deps = deps;
  }

  /** Creates a file whose content comes later, by `uploadTo`. */
  async create(by: Uploader): Promise<{ contentUri: MxcUri; unusedExpiresTs: number }> {
    assertMayUpload(by);
    const { settings } = this.#deps;
    const now = this.#deps.clock();
    const key = this.#newKey();
    const expiresTs = now + settings.unusedExpirationMs;
    await this.#transaction(async (tx) => {
      await storedMedia.lockUser(tx, by.userId);
      if ((await storedMedia.countPending(tx, by.userId, now)) >= settings.maxPendingUploads) {
        throw new MatrixError("M_LIMIT_EXCEEDED", "Too many files wait for their upload");
      }
      await storedMedia.addPending(tx, {
        ...key,
        user_id: by.userId,
        now,
        expires_ts: expiresTs,
        needs_authentication: settings.requiresAuthentication,
      });
    });
    return { contentUri: mxcOf(key), unusedExpiresTs: expiresTs };
  }

  /** Takes a file in; when this resolves it is durable. */
  async upload(by: Uploader, upload: Upload): Promise<MxcUri> {
    assertMayUpload(by);
    const key = this.#newKey();
    await this.#takeIn(by, upload, async (tx, content) => {
      await storedMedia.add(tx, {
        ...key,
        ...content,
        user_id: by.userId,
        now: this.#deps.clock(),
        needs_authentication: this.#deps.settings.requiresAuthentication,
      });
    });
    return mxcOf(key);
  }

  /** Takes in the content of a file that the same user created. */
  async uploadTo(by: Uploader, to: FileId, upload: Upload): Promise<void> {
    assertMayUpload(by);
    const key = keyOf(to);
    const row = await storedMedia.find(this.#deps.database.db, key);
    if (row === undefined || !this.#deps.isLocal(to.serverName)) throw unknownMedia();
    if (row.user_id !== by.userId) {
      throw new MatrixError("M_FORBIDDEN", "Somebody else created this file");
    }
    if (row.uploaded_ts !== null) throw alreadyUploaded();
    if (isExpired(row, this.#deps.clock())) throw unknownMedia();
    await this.#takeIn(by, upload, async (tx, content) => {
      if (await storedMedia.complete(tx, key, { ...content, now: this.#deps.clock() })) return;
      throw (await storedMedia.find(tx, key)) === undefined ? unknownMedia() : alreadyUploaded();
    });
    this.#deps.arrivals.announce(key);
  }

  async #takeIn(
    { userId }: Uploader,
    { body, signal, ...about }: Upload,
    publish: (tx: Tx, content: MediaContent) => Promise<void>,
  ): Promise<void> {
    const { maxUploadBytes: maxBytes } = this.#deps.settings;
    const count = this.#running.get(userId) ?? 0;
    if (count >= MAX_RUNNING_OF_USER || this.#runningOfAll >= MAX_RUNNING) {
      const fields = { retry_after_ms: 1000 };
      throw new MatrixError("M_LIMIT_EXCEEDED", "Too many uploads at a time", { fields });
    }
    this.#running.set(userId, count + 1);
    this.#runningOfAll += 1;
    try {
      const source = receive(body, {
        maxBytes,
        signal,
        tooLarge: () => new MatrixError("M_TOO_LARGE", `Cannot upload more than ${maxBytes} bytes`),
        broken: () => new ClientGone(),
      });
      await this.#deps.intake.store(source, about, publish);
    } finally {
      this.#runningOfAll -= 1;
      const left = (this.#running.get(userId) ?? 1) - 1;
      if (left === 0) this.#running.delete(userId);
      else this.#running.set(userId, left);
    }
  }

  #newKey(): MediaKey {
    const { settings, random } = this.#deps;
    return { server_name: settings.serverName, media_id: random(18).toString("base64url") };
  }

  #transaction<T>(work: (tx: Tx) => Promise<T>): Promise<T> {
    return this.#deps.database.db.transaction().execute(work);
  }
}

function assertMayUpload({ isGuest, isSuspended }: Uploader): void {
  if (isGuest) throw new MatrixError("M_GUEST_ACCESS_FORBIDDEN", "Guests cannot upload");
  if (isSuspended) {
    throw new MatrixError("M_USER_SUSPENDED", "You cannot perform this action while suspended.");
  }
}

function unknownMedia(): MatrixError {
  return new MatrixError("M_NOT_FOUND", "Unknown media ID");
}

function alreadyUploaded(): MatrixError {
  return new MatrixError("M_CANNOT_OVERWRITE_MEDIA", "Media already uploaded");
}
