/** Opens PostgreSQL, and says which tables there are. The one file that knows `pg`. */
import { Kysely, PostgresDialect, type Transaction } from "kysely";
import pg from "pg";
import type { AccessTokenTables } from "./access-tokens.ts";
import type { AccountDataTables } from "./account-data.ts";
import type { AccountTables } from "./accounts.ts";
import type { CrossSigningTables } from "./cross-signing.ts";
import type { DeviceKeyTables } from "./device-keys.ts";
import type { DeviceListTables } from "./device-lists.ts";
import type { DeviceTables } from "./devices.ts";
import type { EventTables } from "./events.ts";
import type { FilterTables } from "./filters.ts";
import type { KeyBackupTables } from "./key-backups.ts";
import type { MediaTables } from "./media.ts";
import type { NotificationTables } from "./notifications.ts";
import type { OneTimeKeyTables } from "./one-time-keys.ts";
import type { ProfileTables } from "./profiles.ts";
import type { PushRuleTables } from "./push-rules.ts";
import type { ReceiptTables } from "./receipts.ts";
import type { RegistrationTokenTables } from "./registration-tokens.ts";
import type { RoomAliasTables } from "./room-aliases.ts";
import type { RoomTables } from "./rooms.ts";
import type { ShortLivedTokenTables } from "./short-lived-tokens.ts";
import type { StreamTables } from "./stream.ts";
import type { StrippedStateTables } from "./stripped-states.ts";
import type { ToDeviceTables } from "./to-device.ts";
import type { UiaSessionTables } from "./uia-sessions.ts";

/** Every table, merged from the modules that query them. */
export interface Tables
  extends
    AccessTokenTables,
    AccountDataTables,
    AccountTables,
    CrossSigningTables,
    DeviceKeyTables,
    DeviceListTables,
    DeviceTables,
    EventTables,
    FilterTables,
    KeyBackupTables,
    MediaTables,
    NotificationTables,
    OneTimeKeyTables,
    ProfileTables,
    PushRuleTables,
    ReceiptTables,
    RegistrationTokenTables,
    RoomAliasTables,
    RoomTables,
    ShortLivedTokenTables,
    StreamTables,
    StrippedStateTables,
    ToDeviceTables,
    UiaSessionTables {}

/** The database or an open transaction: what a read takes. */
export type Db = Kysely<Tables>;
/** An open transaction: what a write takes. */
export type Tx = Transaction<Tables>;

export interface ConnectionOptions {
  /** `postgres://…`; or the members below, where `host` may be a socket's folder. */
  url?: string;
  host?: string;
  port?: number;
  user?: string;
  password?: string;
  database?: string;
  /** Most connections of the pool. */
  max?: number;
}

export interface Database extends AsyncDisposable {
  readonly db: Db;
  readonly pool: pg.Pool;
  /** A connection of its own, outside the pool, for whoever holds one for long. Its owner ends it. */
  connect(): Promise<pg.Client>;
}

/** Times in ms after which PostgreSQL gives up on us, so that a stalled holder of a lock harms nobody for long. */
const LIMITS = {
  statement_timeout: 60_000,
  lock_timeout: 10_000,
  idle_in_transaction_session_timeout: 10_000,
};

// 64-bit integers are positions, nids and times: all within 2^53.
const types = new pg.TypeOverrides();
types.setTypeParser(pg.types.builtins.INT8, (text) => Number(text));

/**
 * Opens a pool of connections; connects on first use.
 *
 * @param onError is told of a connection that broke while idle
 */
export function openDatabase(
  options: ConnectionOptions,
  onError: (error: Error) => void,
): Database {
  const { url, max = 10, ...rest } = options;
  const config: pg.ClientConfig = {
    ...rest,
    ...(url === undefined ? {} : { connectionString: url }),
    types,
    keepAlive: true,
    connectionTimeoutMillis: 10_000,
    application_name: "gomin",
    ...LIMITS,
  };
  const pool = new pg.Pool({ ...config, max });
  // The pool listens to idle connections only: one that breaks within a transaction, between two
  // statements, would end the process.
  pool.on("connect", (client) => client.on("error", () => undefined));
  // What the server says to connections that are being closed is nobody's trouble.
  pool.on("error", (error) => {
    if (!pool.ending) onError(error);
  });
  const db = new Kysely<Tables>({ dialect: new PostgresDialect({ pool }) });
  return {
    db,
    pool,
    async connect() {
      const client = new pg.Client(config);
      client.on("error", onError);
      await client.connect();
      return client;
    },
    async [Symbol.asyncDispose]() {
      await db.destroy();
      // Kysely ends the pool only where it has been used.
      if (!pool.ending) await pool.end();
    },
  };
}

/** What a socket says of a server that is not there, or went away. */
const CONNECTION_ERRORS = new Set([
  "ECONNREFUSED",
  "ECONNRESET",
  "EPIPE",
  "ENOENT",
  "ETIMEDOUT",
  "ENOTFOUND",
  "EAI_AGAIN",
]);
/** SQLSTATE classes: connection exception, insufficient resources, operator intervention. */
const UNAVAILABLE = ["08", "53", "57P"];

/** Whether an error says that the database cannot be reached now, rather than that we did wrong. */
export function isUnavailable(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  const state = sqlState(error);
  if (state !== undefined) return UNAVAILABLE.some((prefix) => state.startsWith(prefix));
  const code = (error as NodeJS.ErrnoException).code ?? "";
  // `pg` has no codes for these.
  return (
    CONNECTION_ERRORS.has(code) || /^(Connection terminated|timeout e|Client )/.test(error.message)
  );
}

/** The SQLSTATE of an error that PostgreSQL gave. */
export function sqlState(error: unknown): string | undefined {
  return error instanceof pg.DatabaseError ? error.code : undefined;
}
