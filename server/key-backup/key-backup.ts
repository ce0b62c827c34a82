/** Server-side backups of room keys: https://spec.matrix.org/v1.19/client-server-api/#server-side-key-backups */
import { MatrixError } from "../../spec/errors.ts";
import type { RoomId, UserId } from "../../spec/identifiers.ts";
import type { JsonObject } from "../../spec/shape.ts";
import { parseStored } from "../../spec/strict-json.ts";
import type { Database, Tx } from "../../storage/database.ts";
import * as keyBackups from "../../storage/key-backups.ts";
import type { BackedUpKeyRow, KeyBackupRow, KeyScope } from "../../storage/key-backups.ts";

export type { KeyScope } from "../../storage/key-backups.ts";

export interface BackupInfo {
  version: string;
  algorithm: string;
  auth_data: JsonObject;
  count: number;
  etag: string;
}

export interface KeyData {
  first_message_index: number;
  forwarded_count: number;
  is_verified: boolean;
  session_data: JsonObject;
}

export interface BackedUpKey {
  roomId: RoomId;
  sessionId: string;
  data: KeyData;
}

export interface KeysChanged {
  etag: string;
  count: number;
}

export interface KeyBackupsOptions {
  database: Pick<Database, "db">;
  /** Most keys of one backup. */
  maxKeys?: number;
}

/** Backups of one user that are not deleted. */
const MAX_BACKUPS = 100;
const MAX_KEYS = 500_000;
const MAX_ATTEMPTS = 10;
/** Keys that are read at once. */
const PAGE = 500;

export class KeyBackups {
  readonly #database: Pick<Database, "db">;
  readonly #maxKeys: number;

  constructor({ database, maxKeys = MAX_KEYS }: KeyBackupsOptions) {
    this.#database = database;
    this.#maxKeys = maxKeys;
  }

  /**
   * Makes a backup, which becomes the current one.
   *
   * @returns its version
   * @throws MatrixError M_RESOURCE_LIMIT_EXCEEDED for a user who keeps too many
   */
  async create(userId: UserId, algorithm: string, authData: JsonObject): Promise<string> {
    if ((await keyBackups.count(this.#database.db, userId)) >= MAX_BACKUPS) {
      throw new MatrixError("M_RESOURCE_LIMIT_EXCEEDED", "You have too many backups: delete some");
    }
    const backup = { userId, algorithm, authData: JSON.stringify(authData) };
    for (let attempt = 1; attempt <= MAX_ATTEMPTS; attempt++) {
      const version = await this.#transaction((tx) => keyBackups.create(tx, backup));
      if (version !== undefined) return String(version);
    }
    throw new MatrixError("M_CONCURRENT_WRITE", "Too many backups are being made at once");
  }

  /**
   * @param version undefined for the current one
   * @throws MatrixError M_NOT_FOUND
   */
  async get(userId: UserId, version: string | undefined): Promise<BackupInfo> {
    if (version !== undefined) return infoOf(await this.#get(userId, version));
    const row = await keyBackups.findCurrent(this.#database.db, userId);
    if (row === undefined) throw new MatrixError("M_NOT_FOUND", "No current backup version");
    return infoOf(row);
  }

  /**
   * Changes a backup's `auth_data`, and nothing else.
   *
   * @throws MatrixError M_NOT_FOUND; M_INVALID_PARAM for another algorithm, or another version
   */
  async update(
    userId: UserId,
    version: string,
    info: { algorithm: string; authData: JsonObject; version?: string | undefined },
  ): Promise<void> {
    if (info.version !== undefined && info.version !== version) {
      throw new MatrixError("M_INVALID_PARAM", "The version is not that of the path");
    }
    await this.#transaction(async (tx) => {
      const row = await lock(tx, userId, version);
      if (row.algorithm !== info.algorithm) {
        throw new MatrixError("M_INVALID_PARAM", "The backup has another algorithm");
      }
      await keyBackups.putAuthData(tx, userId, row.version, JSON.stringify(info.authData));
    });
  }

  /** Removes a backup with its keys; it may be removed already. @throws MatrixError M_NOT_FOUND */
  async remove(userId: UserId, version: string): Promise<void> {
    const number = readVersion(version);
    await this.#transaction(async (tx) => {
      const row = await keyBackups.lock(tx, userId, number);
      if (row !== undefined) return keyBackups.remove(tx, userId, number);
      if ((await keyBackups.find(tx, userId, number)) === undefined) throw unknownVersion();
    });
  }

  /**
   * Puts keys into the current backup; of two for one session the better one stays.
   *
   * @throws MatrixError M_WRONG_ROOM_KEYS_VERSION for a backup that is not the current one, M_NOT_FOUND
   *   where there is none, M_RESOURCE_LIMIT_EXCEEDED for one that is full
   */
  async putKeys(
    userId: UserId,
    version: string,
    keys: readonly BackedUpKey[],
  ): Promise<KeysChanged> {
    const rows = keys.map(({ roomId, sessionId, data }) => ({
      room_id: roomId,
      session_id: sessionId,
      first_message_index: data.first_message_index,
      forwarded_count: data.forwarded_count,
      is_verified: data.is_verified,
      session_data: JSON.stringify(data.session_data),
    }));
    return this.#transaction(async (tx) => {
      const row = await lockCurrent(tx, userId, version);
      const { added, replaced } = await keyBackups.putKeys(tx, userId, row.version, rows);
      if (row.key_count + added > this.#maxKeys) {
        throw new MatrixError("M_RESOURCE_LIMIT_EXCEEDED", "The backup is full");
      }
      return noteKeys(tx, row, added + replaced, added);
    });
  }

  /** @throws MatrixError M_NOT_FOUND for a backup that is not there */
  async removeKeys(userId: UserId, version: string, scope: KeyScope): Promise<KeysChanged> {
    return this.#transaction(async (tx) => {
      const row = await lock(tx, userId, version);
      const removed = await keyBackups.removeKeys(tx, userId, row.version, scope);
      return noteKeys(tx, row, removed, -removed);
    });
  }

  /**
   * The keys of a backup in order of their rooms, some at a time.
   *
   * @throws MatrixError M_NOT_FOUND for a backup that is not there, with the first page
   */
  async *listKeys(userId: UserId, version: string, scope: KeyScope): AsyncGenerator<BackedUpKey[]> {
    const { version: number } = await this.#get(userId, version);
    let after: BackedUpKey | undefined;
    do {
      const page: { after?: BackedUpKey | undefined; limit: number } = { after, limit: PAGE };
      const rows = await keyBackups.listKeys(this.#database.db, userId, number, scope, page);
      const keys = rows.map(keyOf);
      yield keys;
      after = keys.length === PAGE ? keys.at(-1) : undefined;
    } while (after !== undefined);
  }

  /** @throws MatrixError M_NOT_FOUND for a backup or a key that is not there */
  async getKey(
    userId: UserId,
    version: string,
    scope: { roomId: RoomId; sessionId: string },
  ): Promise<KeyData> {
    const { version: number } = await this.#get(userId, version);
    const page = { limit: 1 };
    const [row] = await keyBackups.listKeys(this.#database.db, userId, number, scope, page);
    if (row === undefined) throw new MatrixError("M_NOT_FOUND", "Key not found");
    return keyOf(row).data;
  }

  async #get(userId: UserId, version: string): Promise<KeyBackupRow> {
    const row = await keyBackups.find(this.#database.db, userId, readVersion(version));
    if (row === undefined || row.is_deleted) throw unknownVersion();
    return row;
  }

  #transaction<T>(work: (tx: Tx) => Promise<T>): Promise<T> {
    return this.#database.db.transaction().execute(work);
  }
}

async function lock(tx: Tx, userId: UserId, version: string): Promise<KeyBackupRow> {
  const row = await keyBackups.lock(tx, userId, readVersion(version));
  if (row === undefined) throw unknownVersion();
  return row;
}

async function lockCurrent(tx: Tx, userId: UserId, version: string): Promise<KeyBackupRow> {
  const row = isVersion(version) ? await keyBackups.lock(tx, userId, Number(version)) : undefined;
  const current = await keyBackups.findCurrent(tx, userId);
  if (current === undefined) throw unknownVersion();
  if (current.version === row?.version) return row;
  throw new MatrixError("M_WRONG_ROOM_KEYS_VERSION", "Wrong backup version.", {
    fields: { current_version: String(current.version) },
  });
}

async function noteKeys(
  tx: Tx,
  row: KeyBackupRow,
  changes: number,
  countBy: number,
): Promise<KeysChanged> {
  if (changes === 0) return { etag: String(row.etag), count: row.key_count };
  const { etag, count } = await keyBackups.noteKeys(tx, row.user_id, row.version, { countBy });
  return { etag: String(etag), count };
}

function infoOf(row: KeyBackupRow): BackupInfo {
  return {
    version: String(row.version),
    algorithm: row.algorithm,
    auth_data: parseStored(row.auth_data) as JsonObject,
    count: row.key_count,
    etag: String(row.etag),
  };
}

function keyOf(row: BackedUpKeyRow): BackedUpKey {
  const { first_message_index, forwarded_count, is_verified } = row;
  const session_data = parseStored(row.session_data) as JsonObject;
  return {
    roomId: row.room_id,
    sessionId: row.session_id,
    data: { first_message_index, forwarded_count, is_verified, session_data },
  };
}

function readVersion(version: string): number {
  if (!isVersion(version)) throw unknownVersion();
  return Number(version);
}

/** Versions are numbers that we gave; anything else is none. */
function isVersion(version: string): boolean {
  return /^[1-9]\d{0,14}$/.test(version);
}

function unknownVersion(): MatrixError {
  return new MatrixError("M_NOT_FOUND", "Unknown backup version");
}
