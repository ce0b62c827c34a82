/** Finds the files that somebody asks for: stored, still to come, or on another server. */
import type { Readable } from "node:stream";
import { MatrixError } from "../../spec/errors.ts";
import type { ServerName } from "../../spec/identifiers.ts";
import type { Database } from "../../storage/database.ts";
import * as storedMedia from "../../storage/media.ts";
import type { PendingMedia, UploadedMedia } from "../../storage/media.ts";
import type { Arrivals } from "./arrivals.ts";
import { fileNameOf } from "./content-headers.ts";
import { receive } from "./incoming.ts";
import type { Intake } from "./intake.ts";
import type { RemoteFile, RemoteMedia } from "./remote-media.ts";
import { type FileId, isExpired, keyOf, type MediaSettings, mxcOf } from "./rules.ts";

/** What somebody asks for. */
export interface Wanted extends FileId {
  /** Whether he is logged in, or a server that may ask for it. */
  isAuthenticated: boolean;
  /** Whether it may be fetched from another server; it may by default. */
  allowRemote?: boolean | undefined;
  /** Time in ms for which he waits for a file that is not uploaded yet; 20 s by default. */
  timeoutMs?: number | undefined;
  signal?: AbortSignal | undefined;
}

const DAY_MS = 24 * 3_600_000;
const DEFAULT_WAIT_MS = 20_000;
const MAX_WAIT_MS = 60_000;

type Row = UploadedMedia | PendingMedia | undefined;

export interface DownloadsDeps {
  settings: MediaSettings;
  database: Pick<Database, "db">;
  intake: Intake;
  arrivals: Arrivals;
  remote: RemoteMedia;
  isLocal: (serverName: ServerName) => boolean;
  clock: () => number;
}

export class Downloads {
  readonly #deps: DownloadsDeps;
  /** What is being fetched from other servers, so that the same is not fetched twice at a time. */
  readonly #fetching = new Map<string, Promise<Row>>();

  constructor(deps: DownloadsDeps) {
    this.#deps = deps;
  }

  /**
   * Finds a file that may be handed out, waits for it or fetches it.
   *
   * @throws MatrixError M_NOT_FOUND, M_NOT_YET_UPLOADED
   */
  async get(wanted: Wanted): Promise<UploadedMedia> {
    const { db } = this.#deps.database;
    const key = keyOf(wanted);
    let row = (await storedMedia.find(db, key)) ?? (await this.#fetch(wanted));
    this.#assertMayHave(row, wanted);
    if (row.uploaded_ts === null) {
      await this.#deps.arrivals.wait(key, this.#waitMs(row, wanted), wanted.signal);
      row = await storedMedia.find(db, key);
      this.#assertMayHave(row, wanted);
    }
    if (row.uploaded_ts === null) {
      throw new MatrixError("M_NOT_YET_UPLOADED", "Content has not yet been uploaded");
    }
    const now = this.#deps.clock();
    if (now - row.last_access_ts > DAY_MS) {
      await db.transaction().execute((tx) => storedMedia.touch(tx, key, now));
    }
    return row;
  }

  #assertMayHave(row: Row, wanted: Wanted): asserts row is UploadedMedia | PendingMedia {
    const isThere =
      row !== undefined &&
      row.quarantined_by === null &&
      (row.uploaded_ts !== null || !isExpired(row, this.#deps.clock())) &&
      (wanted.isAuthenticated || !this.#isFrozen(row));
    if (!isThere) throw new MatrixError("M_NOT_FOUND", "Not found");
  }

  /** Whether unauthenticated access ended before a file came. */
  #isFrozen(row: UploadedMedia | PendingMedia): boolean {
    return this.#deps.settings.requiresAuthentication && row.needs_authentication;
  }

  #waitMs(row: PendingMedia, { timeoutMs = DEFAULT_WAIT_MS }: Wanted): number {
    return Math.min(timeoutMs, MAX_WAIT_MS, (row.expires_ts ?? 0) - this.#deps.clock());
  }

  /** Nobody who is not logged in makes us fetch anything. */
  async #fetch(wanted: Wanted): Promise<Row> {
    const { serverName, isAuthenticated, allowRemote = true } = wanted;
    if (this.#deps.isLocal(serverName) || !isAuthenticated || !allowRemote) return undefined;
    const key = mxcOf(keyOf(wanted));
    const fetching = this.#fetching.get(key);
    if (fetching !== undefined) return fetching;
    const fetched = this.#fetchOnce(wanted).finally(() => this.#fetching.delete(key));
    this.#fetching.set(key, fetched);
    return fetched;
  }

  async #fetchOnce(wanted: Wanted): Promise<Row> {
    const { serverName, mediaId, timeoutMs = DEFAULT_WAIT_MS } = wanted;
    const maxBytes = this.#deps.settings.maxUploadBytes;
    const file = await this.#deps.remote.fetch({
      serverName,
      mediaId,
      timeoutMs: Math.min(timeoutMs, MAX_WAIT_MS),
      maxBytes,
    });
    if (file === undefined) return undefined;
    const key = keyOf(wanted);
    await this.#deps.intake.store(
      receiveRemote(file, maxBytes),
      { contentType: file.contentType, fileName: fileNameOf(file.contentDisposition) },
      async (tx, content) => {
        await storedMedia.add(tx, {
          ...key,
          ...content,
          user_id: null,
          now: this.#deps.clock(),
          needs_authentication: this.#deps.settings.requiresAuthentication,
        });
      },
    );
    return storedMedia.find(this.#deps.database.db, key);
  }
}

function receiveRemote({ content }: RemoteFile, maxBytes: number): Readable {
  const source = receive(content, {
    maxBytes,
    tooLarge: () => new MatrixError("M_TOO_LARGE", "Content is too large", { status: 502 }),
    broken: () => new MatrixError("M_UNKNOWN", "The other server broke off", { status: 502 }),
  });
  // Nobody answers on its connection.
  source.once("close", () => content.destroy());
  return source;
}
