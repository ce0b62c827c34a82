/** What `gomin doctor` looks at. */
import * as fs from "node:fs";
import * as net from "node:net";
import { dirname, join } from "node:path";
import { openDatabase } from "../../storage/database.ts";
import { startEmbeddedPostgres } from "../../storage/embedded-postgres.ts";
import { connectNatsBus } from "../bus/nats-bus.ts";
import { type Config, publicBaseUrl } from "../config/config.ts";
import { connectRedisStore } from "../ephemeral/redis-store.ts";
import { silentLog } from "../log.ts";

export interface Finding {
  status: "ok" | "skipped" | "warning" | "failed";
  message: string;
  /** What to do. */
  advice?: string;
}

export interface Subject {
  config: Config;
  /** The configuration's file. */
  file: string | undefined;
}

export interface Check {
  name: string;
  /** Rejects where what it looks at cannot be reached. */
  run(subject: Subject): Promise<Finding>;
}

const FETCH_TIMEOUT_MS = 8_000;
const LOW_DISK_BYTES = 1024 ** 3;
const NO_DISK_BYTES = 100 * 1024 ** 2;
/** Beyond this federation and login tokens suffer. */
const MAX_CLOCK_SKEW_MS = 30_000;
/** A server whose clock is right, and which most servers reach. */
const CLOCK_URL = "https://matrix.org/_matrix/client/versions";

export const checks: readonly Check[] = [
  { name: "files", run: checkFiles },
  { name: "signing key", run: checkSigningKey },
  { name: "disk", run: checkDisk },
  { name: "database", run: checkDatabase },
  { name: "redis", run: checkRedis },
  { name: "nats", run: checkNats },
  { name: "ports", run: checkPorts },
  { name: "clock", run: checkClock },
  { name: "discovery by clients", run: checkClientWellKnown },
  { name: "discovery by servers", run: checkFederation },
];

async function checkFiles({ config, file }: Subject): Promise<Finding> {
  const folder = existing(config.data_dir);
  fs.accessSync(folder, fs.constants.W_OK);
  if (file === undefined) return ok("no configuration file: the defaults are in force");
  const text = fs.readFileSync(file, "utf8");
  const holdsSecret =
    /^\s*(?:registration_shared_secret|secret_key)\s*:\s*\S|:\/\/[^\s:/]*:[^\s@]+@/m;
  if ((fs.statSync(file).mode & 0o004) !== 0 && holdsSecret.test(text)) {
    return {
      status: "warning",
      message: `${file} holds secrets and all users of this machine can read it`,
      advice: `chmod 600 ${file}`,
    };
  }
  return ok(`${file}; data in ${config.data_dir}`);
}

async function checkSigningKey({ config }: Subject): Promise<Finding> {
  const path = config.signing_key_path;
  if (!fs.existsSync(path)) return skipped("there is none yet; the first start makes it");
  if ((fs.statSync(path).mode & 0o077) !== 0) {
    const message = `other users can read ${path}`;
    return { status: "failed", message, advice: `chmod 600 ${path}` };
  }
  return ok(path);
}

async function checkDisk({ config }: Subject): Promise<Finding> {
  const { bavail, bsize } = fs.statfsSync(existing(config.data_dir));
  const free = bavail * bsize;
  const message = `${(free / 1024 ** 3).toFixed(1)} GiB free for ${config.data_dir}`;
  if (free < NO_DISK_BYTES) return { status: "failed", message, advice: "make room" };
  return free < LOW_DISK_BYTES ? { status: "warning", message, advice: "make room" } : ok(message);
}

async function checkDatabase({ config }: Subject): Promise<Finding> {
  await using stack = new AsyncDisposableStack();
  if (config.database.url === undefined && !fs.existsSync(join(config.data_dir, "postgres"))) {
    return skipped("the embedded PostgreSQL is made at the first start");
  }
  const connection =
    config.database.url === undefined
      ? stack.use(
          await startEmbeddedPostgres({ dataDir: config.data_dir, onProblem: () => undefined }),
        ).connection
      : { url: config.database.url };
  const { pool } = stack.use(openDatabase({ ...connection, max: 1 }, () => undefined));
  const { rows } = await pool.query<{ name: string; setting: string }>(
    "SELECT name, setting FROM pg_settings WHERE name = ANY($1)",
    [["server_version", "fsync", "full_page_writes", "server_encoding"]],
  );
  const found = new Map(rows.map(({ name, setting }) => [name, setting]));
  const what = `PostgreSQL ${found.get("server_version")}${config.database.url === undefined ? ", embedded" : ""}`;
  for (const name of ["fsync", "full_page_writes"]) {
    if (found.get(name) !== "on") {
      const message = `${what}: ${name} is off, so that a power failure may lose what was acknowledged`;
      return { status: "failed", message, advice: `set ${name} = on in postgresql.conf` };
    }
  }
  if (found.get("server_encoding") !== "UTF8") {
    const message = `${what}: its encoding is ${found.get("server_encoding")}`;
    return { status: "failed", message, advice: "create the database with ENCODING 'UTF8'" };
  }
  return ok(what);
}

async function checkRedis({ config }: Subject): Promise<Finding> {
  const { url } = config.redis;
  if (url === undefined) return skipped("not configured: one process needs none");
  const store = await connectRedisStore({ url, serverName: config.server_name, log: silentLog });
  await store[Symbol.asyncDispose]();
  return ok(new URL(url).host);
}

async function checkNats({ config }: Subject): Promise<Finding> {
  const { url } = config.nats;
  if (url === undefined) return skipped("not configured: one process needs none");
  const bus = await connectNatsBus({ url, serverName: config.server_name, log: silentLog });
  await bus[Symbol.asyncDispose]();
  return ok(new URL(url).host);
}

async function checkPorts({ config }: Subject): Promise<Finding> {
  const found: string[] = [];
  for (const { port, bind_addresses: addresses, tls } of config.listeners) {
    for (const address of addresses) {
      const at = `${address.includes(":") ? `[${address}]` : address}:${port}`;
      const state = await probe(address, port);
      if (state === "no such address") continue;
      if (state === "free") found.push(`${at} is free`);
      else if (tls.cert !== undefined || (await isGomin(at)))
        found.push(`${at} is in use by a server`);
      else {
        const advice = "stop that program, or choose another port in listeners";
        return { status: "failed", message: `another program listens on ${at}`, advice };
      }
    }
  }
  return ok(found.join(", "));
}

function probe(host: string, port: number): Promise<"free" | "taken" | "no such address"> {
  return new Promise((resolve, reject) => {
    const server = net.createServer();
    server.once("error", (error) => {
      const code: unknown = Reflect.get(error, "code");
      if (code === "EADDRINUSE") resolve("taken");
      else if (code === "EADDRNOTAVAIL" || code === "EAFNOSUPPORT") resolve("no such address");
      else reject(error);
    });
    server.listen({ host, port }, () => server.close(() => resolve("free")));
  });
}

async function isGomin(at: string): Promise<boolean> {
  const host = at.replace("0.0.0.0", "127.0.0.1").replace("[::]", "[::1]");
  try {
    const response = await fetchSoon(`http://${host}/health`);
    return response.ok && response.headers.has("x-trace-id");
  } catch {
    return false;
  }
}

async function checkClock(): Promise<Finding> {
  let date: string | null;
  const sentAt = Date.now();
  try {
    date = (await fetchSoon(CLOCK_URL, { method: "HEAD" })).headers.get("date");
  } catch {
    return skipped("no clock to compare with can be reached");
  }
  const theirs = Date.parse(date ?? "");
  if (Number.isNaN(theirs)) return skipped("no clock to compare with can be reached");
  // The header counts in seconds.
  const skewMs = Math.max(0, Math.abs((sentAt + Date.now()) / 2 - theirs) - 1000);
  if (skewMs <= MAX_CLOCK_SKEW_MS) return ok("right");
  const message = `off by ${Math.round(skewMs / 1000)} s`;
  return { status: "failed", message, advice: "let NTP set it: timedatectl set-ntp true" };
}

async function checkClientWellKnown({ config }: Subject): Promise<Finding> {
  if (isPrivateName(config.server_name)) return skipped(`${config.server_name} is a local name`);
  const url = `https://${hostOf(config.server_name)}/.well-known/matrix/client`;
  const expected = publicBaseUrl(config).replace(/\/$/, "");
  const advice = `serve {"m.homeserver": {"base_url": "${expected}"}} at ${url}`;
  const response = await fetchSoon(url).catch(() => undefined);
  if (response?.ok !== true) {
    const message = `${url} cannot be read, so that clients must be told the address`;
    return { status: "warning", message, advice };
  }
  const told = baseUrlIn(await response.json());
  if (told?.replace(/\/$/, "") !== expected) {
    const message = `${url} names ${told ?? "no server"}, and public_baseurl is ${expected}`;
    return { status: "warning", message, advice };
  }
  if (response.headers.get("access-control-allow-origin") !== "*") {
    const message = `${url} lacks the header Access-Control-Allow-Origin: *`;
    return { status: "warning", message, advice: "web clients need it" };
  }
  return ok(`${url} names ${told}`);
}

/** https://spec.matrix.org/v1.19/server-server-api/#server-discovery, the steps that most servers take */
async function checkFederation({ config }: Subject): Promise<Finding> {
  const name = config.server_name;
  if (!config.federation.enabled) return skipped("federation is turned off");
  if (isPrivateName(name)) return skipped(`${name} is a local name`);
  const delegated = await delegatedServer(name);
  const target = delegated ?? name;
  const host = /:\d+$/.test(target) ? target : `${target}:8448`;
  const url = `https://${host}/_matrix/key/v2/server`;
  const response = await fetchSoon(url).catch((cause: unknown) => cause);
  if (response instanceof Response && response.ok) return ok(`other servers reach ${host}`);
  const why = response instanceof Response ? `answers ${response.status}` : "cannot be reached";
  return {
    status: "warning",
    message: `${url} ${why}, so that other servers do not find this one`,
    advice: `open port 8448, or serve {"m.server": "${new URL(publicBaseUrl(config)).hostname}:443"} at https://${hostOf(name)}/.well-known/matrix/server`,
  };
}

async function delegatedServer(name: string): Promise<string | undefined> {
  // A name with a port is called there.
  if (/:\d+$/.test(name)) return undefined;
  try {
    const response = await fetchSoon(`https://${name}/.well-known/matrix/server`);
    const body: unknown = response.ok ? await response.json() : {};
    const server: unknown = Reflect.get(Object(body), "m.server");
    return typeof server === "string" && server !== "" ? server : undefined;
  } catch {
    return undefined;
  }
}

function baseUrlIn(body: unknown): string | undefined {
  const homeserver: unknown = Reflect.get(Object(body), "m.homeserver");
  const url: unknown = Reflect.get(Object(homeserver), "base_url");
  return typeof url === "string" ? url : undefined;
}

/** A name that is nobody's in the world. */
function isPrivateName(serverName: string): boolean {
  const host = hostOf(serverName);
  return (
    net.isIP(host) !== 0 ||
    host.startsWith("[") ||
    !host.includes(".") ||
    /\.(?:local|localhost|test|internal)$/.test(host)
  );
}

function hostOf(serverName: string): string {
  return serverName.replace(/:\d+$/, "");
}

/** The folder itself, or the nearest above it that is there. */
function existing(folder: string): string {
  let at = folder;
  while (!fs.existsSync(at)) at = dirname(at);
  return at;
}

function fetchSoon(url: string, init: RequestInit = {}): Promise<Response> {
  return fetch(url, { ...init, signal: AbortSignal.timeout(FETCH_TIMEOUT_MS) });
}

function ok(message: string): Finding {
  return { status: "ok", message };
}

function skipped(message: string): Finding {
  return { status: "skipped", message };
}
