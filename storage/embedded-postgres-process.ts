/** The process of the embedded PostgreSQL: finding, starting and stopping it. */
import { type ChildProcess, spawn } from "node:child_process";
import * as fs from "node:fs";
import { connect } from "node:net";
import { totalmem } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import {
  EmbeddedPostgresError,
  type Files,
  hasCode,
  socketPath,
} from "./embedded-postgres-files.ts";

/** A log larger than this is begun anew at a start; the old one is kept beside it. */
const MAX_LOG_BYTES = 10 * 1024 * 1024;
const POLL_MS = 20;
/** How long each way to stop PostgreSQL may take before a harsher one. */
const STOP_STEPS = [
  { signal: "SIGINT", ms: 15_000 },
  { signal: "SIGQUIT", ms: 5_000 },
  { signal: "SIGKILL", ms: 2_000 },
] as const;

/** Whether anything answers on the socket. */
export function isAnswering(files: Files): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(socketPath(files));
    const end = (is: boolean): void => {
      socket.destroy();
      resolve(is);
    };
    socket.once("connect", () => end(true)).once("error", () => end(false));
  });
}

/** The process id of a PostgreSQL that runs on these data now. */
export function findRunning({ data }: Files): number | undefined {
  const pid = readPid(join(data, "postmaster.pid"));
  return pid !== undefined && isPostgres(pid, data) ? pid : undefined;
}

/** Starts PostgreSQL; it goes on when we end, until its watchdog stops it. */
export function spawnPostgres(files: Files): ChildProcess {
  removeStale(files);
  const { data, socket, postgres, runAs } = files;
  const settings = {
    listen_addresses: "",
    unix_socket_directories: socket,
    unix_socket_permissions: "0700",
    fsync: "on",
    full_page_writes: "on",
    synchronous_commit: "on",
    shared_buffers: `${sharedBuffersMb()}MB`,
    max_connections: "200",
    max_wal_size: "2GB",
    jit: "off",
    timezone: "UTC",
    log_timezone: "UTC",
    log_line_prefix: "%m [%p] ",
    // A connection that waits for a lock sees that its client has gone.
    client_connection_check_interval: "1s",
    cluster_name: "gomin",
  };
  const log = openLog(files);
  try {
    const child = spawn(
      postgres,
      [
        "-D",
        data,
        ...Object.entries(settings).flatMap(([name, value]) => ["-c", `${name}=${value}`]),
      ],
      {
        ...runAs,
        cwd: "/",
        env: { LC_ALL: "C", TZ: "UTC" },
        stdio: ["ignore", log, log],
        // A Ctrl-C in the terminal is for us, who then stop it in order.
        detached: true,
      },
    );
    child.unref();
    return child;
  } finally {
    fs.closeSync(log);
  }
}

/** The last lines that PostgreSQL logged. */
export function readLogTail({ log }: Files): string {
  if (!fs.existsSync(log)) return "";
  return fs.readFileSync(log, "utf8").trimEnd().split("\n").slice(-8).join("\n");
}

/**
 * Starts what stops PostgreSQL when this process ends, however it ends.
 *
 * It reads from a pipe of which we hold the other end, and which the system closes for us.
 *
 * @returns dismisses it
 */
export function startWatchdog({ data }: Files, pid: number): () => void {
  const script = `read -r word; [ "$word" = dismissed ] && exit 0
read -r now < "$2"; [ "$now" = "$1" ] && kill -INT "$1"`;
  const watchdog = spawn(
    "/bin/sh",
    ["-c", script, "sh", String(pid), join(data, "postmaster.pid")],
    {
      cwd: "/",
      stdio: ["pipe", "ignore", "ignore"],
      detached: true,
    },
  );
  // Without a shell there is none, and had been no database either: initdb needs one too.
  watchdog.on("error", () => undefined);
  watchdog.stdin.on("error", () => undefined);
  watchdog.unref();
  return () => watchdog.stdin.end("dismissed\n");
}

/** Stops PostgreSQL: in order if it can, in any case in the end. */
export async function stopPostgres(files: Files, pid: number): Promise<void> {
  for (const { signal, ms } of STOP_STEPS) {
    if (!isPostgres(pid, files.data)) return;
    process.kill(pid, signal);
    const deadline = performance.now() + ms;
    while (performance.now() < deadline) {
      if (!isPostgres(pid, files.data)) return;
      await sleep(POLL_MS);
    }
  }
  throw new EmbeddedPostgresError(`PostgreSQL (process ${pid}) cannot be stopped`);
}

/** Ends the helpers of a PostgreSQL that was killed, which keep its data in use. */
export function killOrphans({ data }: Files): void {
  if (process.platform !== "linux") return;
  const folder = fs.realpathSync(data);
  for (const name of fs.readdirSync("/proc")) {
    const pid = Number(name);
    if (!Number.isInteger(pid) || workingFolder(pid) !== folder) continue;
    try {
      process.kill(pid, "SIGQUIT");
    } catch (error) {
      if (!hasCode(error, "ESRCH")) throw error;
    }
  }
}

function readPid(path: string): number | undefined {
  try {
    const [line = ""] = fs.readFileSync(path, "utf8").split("\n");
    return /^\d+$/.test(line) && Number(line) > 1 ? Number(line) : undefined;
  } catch (error) {
    if (hasCode(error, "ENOENT")) return undefined;
    throw error;
  }
}

/** Whether a living process is, as far as the system tells, a PostgreSQL on these data. */
function isPostgres(pid: number, data: string): boolean {
  return isAlive(pid) && isOn(workingFolder(pid), data);
}

/** A PostgreSQL works in its data folder; where the system does not tell, it may. */
function isOn(folder: string | undefined, data: string): boolean {
  return folder === undefined || folder === fs.realpathSync(data);
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // Another user's process is alive too.
    return hasCode(error, "EPERM");
  }
}

/** Undefined where the system does not tell; empty for a process that has ended. */
function workingFolder(pid: number): string | undefined {
  if (process.platform !== "linux") return undefined;
  try {
    return fs.readlinkSync(`/proc/${pid}/cwd`);
  } catch (error) {
    return hasCode(error, "ENOENT") ? "" : undefined;
  }
}

/**
 * Removes the locks of a PostgreSQL that is no more, where its number is another program's by now.
 *
 * PostgreSQL would take that program for itself. Locks of numbers that are nobody's it removes on its
 * own, and with more care than anybody else can.
 */
function removeStale(files: Files): void {
  for (const lock of [join(files.data, "postmaster.pid"), `${socketPath(files)}.lock`]) {
    const pid = readPid(lock);
    if (pid === undefined || !isAlive(pid) || isPostgres(pid, files.data)) continue;
    const aside = `${lock}.stale`;
    fs.renameSync(lock, aside);
    // Unless another process started PostgreSQL at this very moment.
    if (readPid(aside) !== pid && !fs.existsSync(lock)) fs.renameSync(aside, lock);
    else fs.rmSync(aside);
  }
}

function openLog({ log }: Files): number {
  if (fs.existsSync(log) && fs.statSync(log).size > MAX_LOG_BYTES) fs.renameSync(log, `${log}.old`);
  return fs.openSync(log, "a", 0o600);
}

/** An eighth of the memory, within reason. */
function sharedBuffersMb(): number {
  const limit = process.constrainedMemory();
  const memory = limit > 0 ? Math.min(limit, totalmem()) : totalmem();
  return Math.round(Math.min(1024, Math.max(64, memory / 8 / 1024 ** 2)));
}
