import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import * as fs from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { openDatabase } from "./database.ts";
import {
  type EmbeddedPostgres,
  findElsewhere,
  startEmbeddedPostgres,
} from "./embedded-postgres.ts";

const IS_ROOT = process.getuid?.() === 0;
const NOBODY = { uid: 65_534, gid: 65_534 };
const TOP = fs.mkdtempSync("/tmp/gomin-embedded-");
fs.chmodSync(TOP, 0o755);
let folders = 0;

after(() => fs.rmSync(TOP, { recursive: true }));

/** A folder of its own for each test. */
function newDataDir(): string {
  folders += 1;
  return join(TOP, String(folders));
}

/** A process that runs PostgreSQL, as the server does. */
interface Holder {
  process: ChildProcess;
  connection: EmbeddedPostgres["connection"];
  root: string;
}

async function startHolder(
  dataDir: string,
  options: { uid?: number; gid?: number } = {},
): Promise<Holder> {
  const module = new URL("./embedded-postgres.ts", import.meta.url).href;
  const code = `
    import { startEmbeddedPostgres } from ${JSON.stringify(module)};
    const running = await startEmbeddedPostgres({ dataDir: process.argv[1], onProblem: () => undefined });
    console.log(JSON.stringify({ connection: running.connection, root: running.root }));
    process.once("SIGTERM", () => running[Symbol.asyncDispose]());`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", code, dataDir], {
    ...options,
    cwd: "/",
    stdio: ["ignore", "pipe", "inherit"],
  });
  const [line] = (await once(child.stdout, "data")) as [Buffer];
  return { process: child, ...(JSON.parse(line.toString()) as Omit<Holder, "process">) };
}

async function end({ process: child }: Holder, signal: NodeJS.Signals): Promise<void> {
  const exit = once(child, "exit");
  child.kill(signal);
  await exit;
}

async function query<T>(connection: EmbeddedPostgres["connection"], text: string): Promise<T[]> {
  const database = openDatabase(connection, () => undefined);
  const client = await database.connect();
  client.on("error", () => undefined);
  try {
    const { rows } = await client.query({ text, rowMode: "array" });
    return rows.map(([value]) => value as T);
  } finally {
    await client.end();
  }
}

/** The process ids of all PostgreSQL servers, helpers left out, that run on a data folder. */
function servers(root: string): number[] {
  const data = join(root, "cluster", "data");
  return fs
    .readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        const command = fs.readFileSync(`/proc/${pid}/cmdline`, "latin1");
        return /\/postgres\0/.test(command) && command.includes(`\0${data}\0`);
      } catch {
        return false;
      }
    })
    .map(Number);
}

async function until(isTrue: () => boolean | Promise<boolean>, timeoutMs = 15_000): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  while (!(await isTrue())) {
    if (performance.now() > deadline) throw new Error("waited in vain");
    await sleep(20);
  }
}

const silent = { onProblem: () => undefined };

test("what was written is there after a stop and a start", async () => {
  const dataDir = newDataDir();
  const progress: string[] = [];
  const first = await startEmbeddedPostgres({
    ...silent,
    dataDir,
    onProgress: (message) => progress.push(message),
  });
  assert.equal(progress.length, 1);
  await query(first.connection, "CREATE TABLE t AS SELECT 7 AS n");
  await first[Symbol.asyncDispose]();
  assert.deepEqual(servers(first.root), []);
  const second = await startEmbeddedPostgres({ ...silent, dataDir });
  assert.deepEqual(await query(second.connection, "SELECT n FROM t"), [7]);
  await second[Symbol.asyncDispose]();
  assert.deepEqual(servers(first.root), []);
});

test("S30: no TCP, a private socket, a random password, checksums, and fsync", async () => {
  const dataDir = newDataDir();
  const running = await startEmbeddedPostgres({ ...silent, dataDir });
  const { connection, root } = running;
  const show = async (name: string): Promise<unknown> =>
    (await query(connection, `SHOW ${name}`))[0];
  assert.equal(await show("listen_addresses"), "");
  assert.equal(await show("data_checksums"), "on");
  assert.equal(await show("fsync"), "on");
  assert.equal(await show("full_page_writes"), "on");
  assert.equal(await show("synchronous_commit"), "on");
  assert.equal(await show("server_encoding"), "UTF8");
  assert.equal(fs.statSync(connection.host).mode & 0o777, 0o700);
  assert.equal(fs.statSync(join(root, "cluster", "data")).mode & 0o777, 0o700);
  assert.equal(fs.statSync(join(root, "cluster", "password")).mode & 0o777, 0o600);
  assert.match(connection.password, /^[A-Za-z0-9_-]{43}$/);
  await assert.rejects(query({ ...connection, password: "x" }, "SELECT 1"), /password/);
  await running[Symbol.asyncDispose]();
});

test("S30: another local user cannot connect", { skip: !IS_ROOT && "takes root" }, async () => {
  const running = await startEmbeddedPostgres({ ...silent, dataDir: newDataDir() });
  const code = `require("net").connect(process.argv[1]).on("connect", () => process.exit(0)).on("error", (e) => { console.log(e.code); process.exit(1); })`;
  const path = join(running.connection.host, ".s.PGSQL.5432");
  const child = spawn(process.execPath, ["-e", code, path], { ...NOBODY, cwd: "/" });
  const [output] = (await once(child.stdout, "data")) as [Buffer];
  assert.equal(output.toString().trim(), "EACCES");
  await running[Symbol.asyncDispose]();
});

test("a killed server's PostgreSQL stops by itself, and nothing is lost", async () => {
  const dataDir = newDataDir();
  const holder = await startHolder(dataDir);
  await query(holder.connection, "CREATE TABLE t AS SELECT 1 AS n");
  assert.equal(servers(holder.root).length, 1);
  await end(holder, "SIGKILL");
  await until(() => servers(holder.root).length === 0);
  const again = await startEmbeddedPostgres({ ...silent, dataDir });
  assert.deepEqual(await query(again.connection, "SELECT n FROM t"), [1]);
  await again[Symbol.asyncDispose]();
});

test("server and PostgreSQL killed at once, a start finds all that was committed", async () => {
  const dataDir = newDataDir();
  const first = await startHolder(dataDir);
  await query(first.connection, "CREATE TABLE t (n int)");
  let holder = first;
  for (let n = 1; n <= 5; n += 1) {
    await query(holder.connection, `INSERT INTO t VALUES (${n})`);
    for (const pid of servers(holder.root)) process.kill(pid, "SIGKILL");
    await end(holder, "SIGKILL");
    holder = await startHolder(dataDir);
    assert.equal(servers(holder.root).length, 1);
  }
  assert.deepEqual(await query(holder.connection, "SELECT n FROM t ORDER BY n"), [1, 2, 3, 4, 5]);
  await end(holder, "SIGTERM");
  assert.deepEqual(servers(holder.root), []);
});

test("a start right after a kill never leads to two on one data folder", async () => {
  const dataDir = newDataDir();
  let holder = await startHolder(dataDir);
  for (let i = 0; i < 4; i += 1) {
    await end(holder, "SIGKILL");
    holder = await startHolder(dataDir);
    assert.equal(servers(holder.root).length, 1);
    await until(
      async () => (await query(holder.connection, "SELECT 1").catch(() => [])).length > 0,
    );
  }
  await end(holder, "SIGTERM");
  await until(() => servers(holder.root).length === 0);
});

test("a PostgreSQL that is killed under its server is started again", async () => {
  const dataDir = newDataDir();
  const problems: string[] = [];
  const running = await startEmbeddedPostgres({
    dataDir,
    onProblem: (message) => problems.push(message),
  });
  const [before] = servers(running.root);
  process.kill(before ?? 0, "SIGKILL");
  await until(async () => {
    const rows = await query(running.connection, "SELECT 1").catch(() => []);
    return rows.length === 1 && !servers(running.root).includes(before ?? 0);
  });
  assert.deepEqual(problems, ["PostgreSQL ended; starting it again"]);
  await running[Symbol.asyncDispose]();
  assert.deepEqual(servers(running.root), []);
});

test("a PostgreSQL whose server and watchdog were killed is taken over, and stopped in the end", async () => {
  const dataDir = newDataDir();
  const holder = await startHolder(dataDir);
  const [pid] = servers(holder.root);
  await until(() => watchdogsOf(holder.root).length === 1);
  for (const watchdog of watchdogsOf(holder.root)) process.kill(watchdog, "SIGKILL");
  await end(holder, "SIGKILL");
  await sleep(300);
  assert.deepEqual(servers(holder.root), [pid]);
  const next = await startHolder(dataDir);
  assert.deepEqual(servers(holder.root), [pid]);
  await end(next, "SIGTERM");
  await until(() => servers(holder.root).length === 0);
});

test("a stale lock that names a living program of another kind is not taken for PostgreSQL", async () => {
  const dataDir = newDataDir();
  const holder = await startHolder(dataDir);
  for (const pid of servers(holder.root)) process.kill(pid, "SIGKILL");
  await end(holder, "SIGKILL");
  const bystander = spawn("sleep", ["60"], IS_ROOT ? { uid: 60_808, gid: 60_808 } : {});
  const lock = join(holder.root, "cluster", "data", "postmaster.pid");
  const [, ...lines] = fs.readFileSync(lock, "utf8").split("\n");
  fs.writeFileSync(lock, [bystander.pid, ...lines].join("\n"));
  fs.writeFileSync(
    join(holder.connection.host, ".s.PGSQL.5432.lock"),
    [bystander.pid, ...lines].join("\n"),
  );
  const running = await startEmbeddedPostgres({ ...silent, dataDir });
  assert.deepEqual(await query(running.connection, "SELECT 1"), [1]);
  await running[Symbol.asyncDispose]();
  bystander.kill();
});

test("two processes that start at once share one PostgreSQL, which the last one stops", async () => {
  const dataDir = newDataDir();
  const [one, two] = await Promise.all([startHolder(dataDir), startHolder(dataDir)]);
  assert.equal(servers(one.root).length, 1);
  await query(one.connection, "CREATE TABLE t AS SELECT 1 AS n");
  const [pid] = servers(one.root);
  await end(one, "SIGTERM");
  assert.deepEqual(await query(two.connection, "SELECT n FROM t"), [1]);
  assert.deepEqual(servers(one.root), [pid], "it was handed over, not started again");
  await end(two, "SIGTERM");
  assert.deepEqual(servers(one.root), []);
});

test("when the owner is killed, the other process that uses it has it again soon", async () => {
  const dataDir = newDataDir();
  const owner = await startHolder(dataDir);
  const guest = await startHolder(dataDir);
  await end(owner, "SIGKILL");
  await sleep(500);
  await until(async () => (await query(guest.connection, "SELECT 1").catch(() => [])).length === 1);
  assert.equal(servers(guest.root).length, 1);
  await end(guest, "SIGTERM");
  assert.deepEqual(servers(guest.root), []);
});

test("a data folder deeper than a socket's path may be has its socket elsewhere", async () => {
  const dataDir = join(newDataDir(), "x".repeat(60), "y".repeat(60));
  const running = await startEmbeddedPostgres({ ...silent, dataDir });
  assert.ok(running.connection.host.length < 90, running.connection.host);
  assert.equal(fs.statSync(running.connection.host).mode & 0o777, 0o700);
  assert.deepEqual(await query(running.connection, "SELECT 1"), [1]);
  await running[Symbol.asyncDispose]();
  fs.rmSync(running.connection.host, { recursive: true });
});

test(
  "under a folder that is closed to others, root's database is kept elsewhere and found again",
  { skip: !IS_ROOT && "takes root" },
  async () => {
    const closed = newDataDir();
    fs.mkdirSync(closed, { mode: 0o700 });
    const options = { ...silent, dataDir: join(closed, "data"), systemDir: newDataDir() };
    const first = await startEmbeddedPostgres(options);
    assert.ok(first.root.startsWith(options.systemDir));
    assert.equal(findElsewhere(options.dataDir), first.root);
    await query(first.connection, "CREATE TABLE t AS SELECT 1 AS n");
    await first[Symbol.asyncDispose]();
    const second = await startEmbeddedPostgres(options);
    assert.deepEqual(await query(second.connection, "SELECT n FROM t"), [1]);
    await second[Symbol.asyncDispose]();
    fs.rmSync(second.root, { recursive: true });
    await assert.rejects(startEmbeddedPostgres(options), /is not there/);
  },
);

test("a user other than root runs it as itself", { skip: !IS_ROOT && "takes root" }, async () => {
  const dataDir = newDataDir();
  fs.mkdirSync(dataDir);
  fs.chownSync(dataDir, NOBODY.uid, NOBODY.gid);
  const holder = await startHolder(dataDir, NOBODY);
  const data = join(holder.root, "cluster", "data");
  assert.equal(fs.statSync(data).uid, NOBODY.uid);
  assert.deepEqual(await query(holder.connection, "SELECT 1"), [1]);
  await end(holder, "SIGTERM");
  assert.deepEqual(servers(holder.root), []);
  const byRoot = await startEmbeddedPostgres({ ...silent, dataDir });
  assert.deepEqual(await query(byRoot.connection, "SELECT 1"), [1]);
  assert.equal(fs.statSync(data).uid, NOBODY.uid);
  await byRoot[Symbol.asyncDispose]();
});

/** The watchdogs of a data folder. */
function watchdogsOf(root: string): number[] {
  return fs
    .readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        const command = fs.readFileSync(`/proc/${pid}/cmdline`, "latin1");
        return command.startsWith("/bin/sh\0") && command.includes(join(root, "cluster", "data"));
      } catch {
        return false;
      }
    })
    .map(Number);
}
