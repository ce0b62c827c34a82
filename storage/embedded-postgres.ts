/**
 * The embedded PostgreSQL: started by the program on a private socket, in its data folder.
 *
 * Several processes may use it: the server, and the `gomin` command beside it. One of them owns it,
 * which is a lock in the database that each waits for. The owner stops PostgreSQL when it ends as the
 * last; a watchdog does so when the owner is killed; and whoever finds it stopped starts it again.
 * PostgreSQL's own lock decides between two that start it at once.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { type ConnectionOptions, openDatabase, sqlState } from "./database.ts";
import {
  EmbeddedPostgresError,
  type Files,
  hasCode,
  NAME,
  prepareFiles,
} from "./embedded-postgres-files.ts";
import {
  findRunning,
  isAnswering,
  killOrphans,
  readLogTail,
  spawnPostgres,
  startWatchdog,
  stopPostgres,
} from "./embedded-postgres-process.ts";

export { EmbeddedPostgresError, findElsewhere } from "./embedded-postgres-files.ts";

/** How long PostgreSQL may fail to run at all before a start is given up; recovery may take longer. */
const START_TIMEOUT_MS = 30_000;
const POLL_MS = 20;
/** Time after which what a killed PostgreSQL left running is ended. */
const ORPHANS_MS = 3_000;
const RESTART_WAIT_MS = 500;
/** Time after which one that has the lock counts as alive. */
const HEIR_MS = 150;
const MAX_HEIR_MS = 5_000;
/** The lock of whoever owns PostgreSQL; any number that nobody else uses. */
const OWNER_LOCK = 7_266_801;
const GUARD_NAME = "gomin guard";

export interface EmbeddedPostgresOptions {
  /** The folder of all that the server keeps. */
  dataDir: string;
  /** Where root's database goes if `dataDir` stands under a folder that is closed to others. */
  systemDir?: string;
  /** Told, for the user, of what takes long. */
  onProgress?: (message: string) => void;
  /** Told, for the log, that PostgreSQL ended and is started again, or cannot be. */
  onProblem: (message: string, error?: unknown) => void;
}

export interface EmbeddedPostgres extends AsyncDisposable {
  /** Where to connect. It stays the same when PostgreSQL is started again. */
  readonly connection: Required<Pick<ConnectionOptions, "host" | "user" | "password" | "database">>;
  /** The folder of the database. */
  readonly root: string;
}

/**
 * Starts PostgreSQL, or finds it running, and waits until it answers.
 *
 * @throws EmbeddedPostgresError if it cannot run here
 */
export async function startEmbeddedPostgres(
  options: EmbeddedPostgresOptions,
): Promise<EmbeddedPostgres> {
  const { dataDir, systemDir = "/var/lib/gomin", onProgress = () => undefined } = options;
  const files = await prepareFiles(dataDir, systemDir, onProgress);
  const supervisor = new Supervisor(files, options.onProblem);
  await supervisor.start();
  return {
    connection: connectionTo(files, NAME),
    root: files.root,
    [Symbol.asyncDispose]: () => supervisor.stop(),
  };
}

/** One process's part in keeping PostgreSQL running. */
class Supervisor {
  readonly #files: Files;
  readonly #onProblem: (message: string, error?: unknown) => void;
  readonly #stopping = new AbortController();
  #guard: Guard | undefined;
  #supervising: Promise<void> | undefined;

  constructor(files: Files, onProblem: (message: string, error?: unknown) => void) {
    this.#files = files;
    this.#onProblem = onProblem;
  }

  async start(): Promise<void> {
    await ensureRunning(this.#files, this.#stopping.signal);
    await createDatabase(this.#files);
    this.#guard = await Guard.open(this.#files);
    this.#supervising = this.#supervise();
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#guard?.close();
    await this.#supervising;
  }

  async #supervise(): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      await this.#guard?.lost;
      if (signal.aborted) return;
      this.#onProblem("PostgreSQL ended; starting it again");
      try {
        await ensureRunning(this.#files, signal);
        this.#guard = await Guard.open(this.#files);
        // It may have been opened while we were told to stop.
        if (signal.aborted) await this.#guard.close();
      } catch (error) {
        if (signal.aborted) return;
        this.#onProblem("PostgreSQL does not start", error);
        await sleep(RESTART_WAIT_MS);
      }
    }
  }
}

/** A connection that shows whether PostgreSQL runs, and holds the owner's lock or waits for it. */
class Guard {
  /** Settled when the connection is over. */
  readonly lost: Promise<void>;
  readonly #files: Files;
  readonly #client: Client;
  readonly #backend: number;
  #isLost = false;
  /** Dismisses the watchdog; there is one while we own PostgreSQL. */
  #dismiss: (() => void) | undefined;

  static async open(files: Files): Promise<Guard> {
    const client = await connect(files, "postgres");
    // Unlimited: it waits for as long as the owner lives.
    await client.query("SET statement_timeout = 0; SET lock_timeout = 0");
    await client.query(`SET application_name = '${GUARD_NAME}'`);
    const { rows } = await client.query<{ pid: number }>("SELECT pg_backend_pid() AS pid");
    const guard = new Guard(files, client, rows[0]?.pid ?? 0);
    guard.#own();
    return guard;
  }

  private constructor(files: Files, client: Client, backend: number) {
    this.#files = files;
    this.#client = client;
    this.#backend = backend;
    this.lost = new Promise((resolve) => {
      client.once("end", () => {
        this.#isLost = true;
        this.#dismiss?.();
        this.#dismiss = undefined;
        resolve();
      });
    });
  }

  /** Gives the lock away; stops PostgreSQL if there is nobody to take it. */
  async close(): Promise<void> {
    const dismiss = this.#dismiss;
    this.#dismiss = undefined;
    try {
      if (!this.#isLost) await this.#leave();
    } finally {
      await this.#client.end().catch(() => undefined);
      dismiss?.();
    }
  }

  async #leave(): Promise<void> {
    const client = await connect(this.#files, "postgres").catch(() => undefined);
    // It is just ending.
    if (client === undefined) return;
    try {
      // A backend that waits for a lock does not see that its client has gone.
      await client.query("SELECT pg_terminate_backend($1, 5000)", [this.#backend]);
      if (await hasHeir(client)) return;
    } finally {
      await client.end();
    }
    const pid = findRunning(this.#files);
    if (pid !== undefined) await stopPostgres(this.#files, pid);
  }

  /** Waits in the background for the lock. */
  #own(): void {
    this.#client.query(`SELECT pg_advisory_lock(${OWNER_LOCK})`).then(
      () => {
        const pid = findRunning(this.#files);
        if (pid !== undefined && !this.#isLost) this.#dismiss = startWatchdog(this.#files, pid);
      },
      // The connection is over, which `lost` tells.
      () => undefined,
    );
  }
}

/** Whether another process owns PostgreSQL now. */
async function hasHeir(client: Client): Promise<boolean> {
  let heir: { pid: number; since: number } | undefined;
  const deadline = performance.now() + MAX_HEIR_MS;
  while (performance.now() < deadline) {
    const { rows } = await client.query<{ pid: number; owns: boolean }>(
      `SELECT pid, EXISTS (SELECT FROM pg_locks l WHERE l.pid = a.pid AND l.granted
         AND l.locktype = 'advisory' AND l.objid = ${OWNER_LOCK}) AS owns
       FROM pg_stat_activity a WHERE application_name = '${GUARD_NAME}'`,
    );
    if (rows.length === 0) return false;
    const owner = rows.find(({ owns }) => owns)?.pid;
    // The lock may go by a backend whose process was killed, and which sees so only then.
    if (owner !== heir?.pid) {
      heir = owner === undefined ? undefined : { pid: owner, since: performance.now() };
    } else if (heir !== undefined && performance.now() - heir.since > HEIR_MS) return true;
    await sleep(POLL_MS);
  }
  return true;
}

/** Waits until PostgreSQL answers, and starts it if nobody else does. */
async function ensureRunning(files: Files, signal: AbortSignal): Promise<void> {
  let silentSince = performance.now();
  let child: { hasEnded: boolean } | undefined;
  while (!signal.aborted) {
    if (await isReady(files)) return;
    const pid = findRunning(files);
    const answers = await isAnswering(files);
    const silentMs = performance.now() - silentSince;
    if (answers) {
      silentSince = performance.now();
    } else if (pid !== undefined) {
      // It hangs, or somebody removed its socket.
      if (silentMs > START_TIMEOUT_MS) await stopPostgres(files, pid);
    } else if (child?.hasEnded !== false) {
      if (child !== undefined) refuseFailure(files, silentMs);
      if (silentMs > ORPHANS_MS) killOrphans(files);
      child = watch(spawnPostgres(files));
    }
    await sleep(POLL_MS);
  }
  signal.throwIfAborted();
}

function watch(process: ReturnType<typeof spawnPostgres>): { hasEnded: boolean } {
  const child = { hasEnded: false };
  process.once("exit", () => (child.hasEnded = true)).once("error", () => (child.hasEnded = true));
  return child;
}

/** Tries again only what may mend itself: locks of a PostgreSQL that is just ending. */
function refuseFailure(files: Files, silentMs: number): void {
  const log = readLogTail(files);
  const isLocked = /lock file|shared memory block/.test(log);
  if (isLocked && silentMs < START_TIMEOUT_MS) return;
  throw new EmbeddedPostgresError(`PostgreSQL does not start; its log ${files.log} ends:\n${log}`);
}

/** @throws Error if it answers with anything but that it is not ready yet */
async function isReady(files: Files): Promise<boolean> {
  try {
    const client = await connect(files, "postgres");
    await client.end();
    return true;
  } catch (error) {
    // 57P03: starting or ending. A connection that ends half-way: ending.
    const isNotYet =
      sqlState(error) === "57P03" ||
      ["ENOENT", "ECONNREFUSED", "ECONNRESET", "EPIPE", "EAGAIN"].some((code) =>
        hasCode(error, code),
      ) ||
      (error instanceof Error && error.message.includes("terminated"));
    if (isNotYet) return false;
    throw error;
  }
}

async function createDatabase(files: Files): Promise<void> {
  const client = await connect(files, "postgres");
  try {
    const { rows } = await client.query("SELECT FROM pg_database WHERE datname = $1", [NAME]);
    if (rows.length === 0) await client.query(`CREATE DATABASE ${NAME}`);
  } catch (error) {
    // Another process made it at the same time.
    if (sqlState(error) !== "42P04" && sqlState(error) !== "23505") throw error;
  } finally {
    await client.end();
  }
}

type Client = Awaited<ReturnType<typeof connect>>;

async function connect(files: Files, database: string) {
  const opened = openDatabase(connectionTo(files, database), () => undefined);
  const client = await opened.connect();
  // Told by its end, or by the query that fails.
  client.on("error", () => undefined);
  return client;
}

function connectionTo(files: Files, database: string): EmbeddedPostgres["connection"] {
  return { host: files.socket, user: NAME, password: files.password, database };
}
