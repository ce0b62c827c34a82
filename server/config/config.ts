/**
 * The configuration: `gomin.yaml`, the environment, and defaults for the rest.
 *
 * Each key can be given by an environment variable, which goes before the file: `GOMIN_` and the key
 * in capitals, its parts joined by `_`, as in `GOMIN_MEDIA_MAX_UPLOAD_SIZE`. Texts are taken as they
 * are, everything else is read as YAML. A secret can stand in a file of its own, named by its key
 * and `_file`.
 */
import { existsSync, readFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import type { RateLimitSettings } from "../rate-limits/rate-limits.ts";
import { environmentNames, type Problem, Reader } from "./reader.ts";
import type { ValueOf } from "./schema.ts";
import { settings } from "./settings.ts";
import { suggest } from "./suggest.ts";

export { dumpConfig, exampleConfig, maskConfig } from "./dump.ts";
export type { Problem } from "./reader.ts";
export { suggest } from "./suggest.ts";

/** All settings, by the names that they have in the file; sizes in bytes, durations in ms. */
export type Config = ValueOf<typeof settings>;
export type ListenerConfig = Config["listeners"][number];

export interface LoadedConfig {
  config: Config;
  /** The file, if there is one. */
  file: string | undefined;
  /** What is odd, but not wrong. */
  warnings: string[];
}

/** The configuration is wrong. The message names every mistake with file, line and key. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
  readonly problems: readonly Problem[];

  constructor(problems: readonly Problem[]) {
    super(problems.map(describeProblem).join("\n"));
    this.problems = problems;
  }
}

/** The file that is read where none is named. */
const DEFAULT_FILE = "gomin.yaml";

/** Variables that begin with `GOMIN_` and are no settings. */
const OTHER_VARIABLES = ["GOMIN_CONFIG"];

/**
 * Reads the configuration.
 *
 * @param file the file; else `GOMIN_CONFIG`, else `gomin.yaml` in `cwd` if there is one
 * @throws ConfigError
 */
export function loadConfig({
  file: named,
  cwd = process.cwd(),
  env = process.env,
}: {
  file?: string | undefined;
  cwd?: string;
  env?: Readonly<Record<string, string | undefined>>;
} = {}): LoadedConfig {
  const asked = named ?? env["GOMIN_CONFIG"];
  const file = resolve(cwd, asked ?? DEFAULT_FILE);
  const isThere = asked !== undefined || existsSync(file);
  const text = isThere ? readText(file) : "";
  const reader = new Reader(text, file, isThere ? dirname(file) : cwd, env);
  // The reader walks the table, so that what it gives has the table's type.
  const config = reader.read(settings) as Config;
  if (reader.problems.length > 0) {
    throw new ConfigError(reader.problems.toSorted((a, b) => (a.line ?? 0) - (b.line ?? 0)));
  }
  const complete = withDefaultPaths(config, isThere ? dirname(file) : cwd);
  const problems = contradictions(complete).map((found) => ({
    source: file,
    line: undefined,
    ...found,
  }));
  if (problems.length > 0) throw new ConfigError(problems);
  return { config: complete, file: isThere ? file : undefined, warnings: oddVariables(env) };
}

/** The rate limits as `RateLimits` takes them. */
export function rateLimitSettings(config: Config): RateLimitSettings {
  const of = (limit: Config["rc_message"]): { perSecond: number; burst: number } => ({
    perSecond: limit.per_second,
    burst: limit.burst_count,
  });
  return {
    rc_message: of(config.rc_message),
    rc_registration: of(config.rc_registration),
    rc_registration_token_validity: of(config.rc_registration_token_validity),
    "rc_login.address": of(config.rc_login.address),
    "rc_login.account": of(config.rc_login.account),
    "rc_login.failed_attempts": of(config.rc_login.failed_attempts),
    rc_admin_redaction: of(config.rc_admin_redaction),
    "rc_joins.local": of(config.rc_joins.local),
    "rc_joins.remote": of(config.rc_joins.remote),
    rc_joins_per_room: of(config.rc_joins_per_room),
    rc_3pid_validation: of(config.rc_3pid_validation),
    "rc_invites.per_room": of(config.rc_invites.per_room),
    "rc_invites.per_user": of(config.rc_invites.per_user),
    "rc_invites.per_issuer": of(config.rc_invites.per_issuer),
    "rc_presence.per_user": of(config.rc_presence.per_user),
    rc_media_create: of(config.rc_media_create),
    rc_room_creation: of(config.rc_room_creation),
    rc_user_directory: of(config.rc_user_directory),
    rc_reports: of(config.rc_reports),
    rc_key_requests: of(config.rc_key_requests),
  };
}

/** Where clients reach the server, with a slash at the end. */
export function publicBaseUrl(config: Config): string {
  if (config.public_baseurl !== undefined) return config.public_baseurl.replace(/\/*$/, "/");
  const listener = config.listeners.find(({ resources }) => resources.includes("client"));
  const scheme = listener?.tls.cert === undefined ? "http" : "https";
  return `${scheme}://localhost:${listener?.port ?? 8008}/`;
}

function readText(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new ConfigError([
      { source: file, line: undefined, key: "", message: `cannot be read: ${reason}` },
    ]);
  }
}

/** Defaults of paths may name other settings. */
function withDefaultPaths(config: Config, base: string): Config {
  const dataDir = resolve(base, config.data_dir);
  const fill = (path: string): string =>
    resolve(
      path
        .replace("{data_dir}", dataDir)
        // The port's colon is not welcome in file names everywhere.
        .replace("{server_name}", config.server_name.replaceAll(/[^A-Za-z0-9.-]/g, "_")),
    );
  return {
    ...config,
    data_dir: dataDir,
    signing_key_path: fill(config.signing_key_path),
    media: { ...config.media, path: fill(config.media.path) },
  };
}

/** What no single key is to blame for. */
function contradictions(config: Config): { key: string; message: string }[] {
  const found: { key: string; message: string }[] = [];
  const isOpen = config.enable_registration && !config.registration_requires_token;
  if (isOpen && !config.enable_registration_without_verification) {
    found.push({
      key: "registration_requires_token",
      message:
        "with it false anybody in the world may make accounts; if you want that, set enable_registration_without_verification: true",
    });
  }
  if (config.media.store === "s3") {
    for (const key of ["endpoint", "bucket", "access_key", "secret_key"] as const) {
      if (config.media.s3[key] === undefined) {
        found.push({ key: `media.s3.${key}`, message: "is needed with media.store: s3" });
      }
    }
  }
  for (const [i, listener] of config.listeners.entries()) {
    const { bind_addresses, resources, tls, trusted_proxies, x_forwarded } = listener;
    if (bind_addresses.length === 0) {
      found.push({ key: `listeners[${i}].bind_addresses`, message: "is empty" });
    }
    if (
      resources.includes("metrics") &&
      resources.some((r) => r === "client" || r === "federation")
    ) {
      found.push({
        key: `listeners[${i}].resources`,
        message: "metrics are not for everybody: give them a listener of their own",
      });
    }
    if ((tls.cert === undefined) !== (tls.key === undefined)) {
      found.push({ key: `listeners[${i}].tls`, message: "needs both cert and key" });
    }
    if (trusted_proxies !== undefined && !x_forwarded) {
      found.push({
        key: `listeners[${i}].trusted_proxies`,
        message: "means nothing without x_forwarded: true",
      });
    }
  }
  for (const [i, terms] of config.registration_terms.entries()) {
    for (const key of ["id", "name", "url"] as const) {
      if (terms[key] === undefined) {
        found.push({ key: `registration_terms[${i}].${key}`, message: "is missing" });
      }
    }
  }
  for (const [i, contact] of config.support.contacts.entries()) {
    if (contact.matrix_id === undefined && contact.email_address === undefined) {
      found.push({
        key: `support.contacts[${i}]`,
        message: "needs a matrix_id or an email_address",
      });
    }
  }
  return found;
}

function oddVariables(env: Readonly<Record<string, string | undefined>>): string[] {
  const known = [...environmentNames(settings), ...OTHER_VARIABLES];
  return Object.keys(env)
    .filter((name) => name.startsWith("GOMIN_") && !known.includes(name))
    .map((name) => {
      const meant = suggest(name, known);
      const hint = meant === undefined ? "" : `; did you mean ${meant}?`;
      return `environment variable ${name} is no setting${hint}`;
    });
}

function describeProblem({ source, line, key, message }: Problem): string {
  const at = line === undefined ? source : `${source}:${line}`;
  return key === "" ? `${at}: ${message}` : `${at}: ${key}: ${message}`;
}
