/** The ephemeral store in Redis: the one file that knows ioredis. */
import { Redis, type RedisOptions } from "ioredis";
import { array, integer, string } from "../../spec/shape.ts";
import type { Log } from "../log.ts";
import {
  type Bucket,
  type BucketAnswer,
  type EphemeralStore,
  EphemeralUnavailable,
  type TopicChange,
  type TopicPosition,
  type WriteOptions,
} from "./ephemeral.ts";
import { type Script, scripts } from "./redis-scripts.ts";

const CONNECT_TIMEOUT_MS = 5_000;
/** Longer than this nobody waits for what may be lost without harm. */
const COMMAND_TIMEOUT_MS = 1_000;
const SWEEP_INTERVAL_MS = 250;
const MAX_RECONNECT_WAIT_MS = 2_000;

const strings = array(string);

export interface RedisStoreOptions {
  /** `redis://user:password@host:port/database`, or `rediss:` for TLS. */
  url: string;
  /** Keeps homeservers apart that share one Redis. */
  serverName: string;
  log: Log;
}

/** @throws Error if Redis cannot be reached */
export async function connectRedisStore(options: RedisStoreOptions): Promise<RedisStore> {
  const store = new RedisStore(options);
  try {
    await store.connect();
    return store;
  } catch (cause) {
    await store[Symbol.asyncDispose]();
    const { host } = new URL(options.url);
    throw new Error(`redis.url: cannot connect to Redis at ${host}`, { cause });
  }
}

export class RedisStore implements EphemeralStore {
  readonly #redis: Redis;
  /** A connection that is subscribed can do nothing else. */
  readonly #subscriber: Redis;
  readonly #prefix: string;
  readonly #log: Log;
  readonly #onChange = new Set<(change: TopicChange | undefined) => void>();
  #sweeper: NodeJS.Timeout | undefined;

  /** Use `connectRedisStore`. */
  constructor({ url, serverName, log }: RedisStoreOptions) {
    this.#prefix = `gomin:{${serverName}}:`;
    this.#log = log;
    const options = {
      lazyConnect: true,
      connectTimeout: CONNECT_TIMEOUT_MS,
      commandTimeout: COMMAND_TIMEOUT_MS,
      enableOfflineQueue: false,
      maxRetriesPerRequest: 0,
      autoResubscribe: false,
      connectionName: "gomin",
      retryStrategy: (times) => Math.min(times * 100, MAX_RECONNECT_WAIT_MS),
    } satisfies RedisOptions;
    this.#redis = new Redis(url, options);
    this.#subscriber = new Redis(url, options);
    this.#watch();
  }

  /** @throws Error if Redis cannot be reached; it does not try again then */
  async connect(): Promise<void> {
    await Promise.all([this.#redis.connect(), this.#subscriber.connect()]);
    await this.#run(scripts.begin);
    this.#sweeper = setTimeout(() => void this.#sweep(), SWEEP_INTERVAL_MS).unref();
  }

  /** Whether Redis is there now. */
  get isConnected(): boolean {
    return this.#redis.status === "ready";
  }

  async get(key: string): Promise<string | undefined> {
    return (await this.#try(() => this.#redis.get(`${this.#prefix}v:${key}`))) ?? undefined;
  }

  async getMany(keys: readonly string[]): Promise<(string | undefined)[]> {
    if (keys.length === 0) return [];
    const names = keys.map((key) => `${this.#prefix}v:${key}`);
    const values = await this.#try(() => this.#redis.mget(names));
    return values.map((value) => value ?? undefined);
  }

  async put(key: string, value: string, options: WriteOptions = {}): Promise<void> {
    await this.#run(scripts.put, key, value, ttl(options), options.topic ?? "");
  }

  async remove(key: string, { topic = "" }: { topic?: string } = {}): Promise<void> {
    await this.#run(scripts.remove, key, topic);
  }

  async members(key: string): Promise<Map<string, string>> {
    const flat = strings.read(await this.#run(scripts.members, key), "members");
    const members = new Map<string, string>();
    for (let i = 0; i + 1 < flat.length; i += 2) members.set(flat[i] ?? "", flat[i + 1] ?? "");
    return members;
  }

  async putMember(
    key: string,
    member: string,
    value: string,
    options: WriteOptions = {},
  ): Promise<void> {
    const { topic = "" } = options;
    await this.#run(scripts.putMember, key, member, value, ttl(options), topic);
  }

  async removeMember(
    key: string,
    member: string,
    { topic = "" }: { topic?: string } = {},
  ): Promise<void> {
    await this.#run(scripts.removeMember, key, member, topic);
  }

  async takeTokens(
    key: string,
    { perSecond, burst }: Bucket,
    cost: number = 1,
  ): Promise<BucketAnswer> {
    const [allowed, wait] = answer(
      await this.#run(scripts.takeTokens, key, String(perSecond), String(burst), String(cost)),
    );
    return { allowed: allowed === 1, retryAfterMs: wait === "" ? Infinity : Number(wait) };
  }

  async touch(topic: string, key: string): Promise<TopicPosition> {
    return toPosition(answer(await this.#run(scripts.touch, topic, key)));
  }

  async position(topic: string): Promise<TopicPosition> {
    return toPosition(answer(await this.#run(scripts.position, topic)));
  }

  async changesAfter(
    topic: string,
    { runId, version }: TopicPosition,
  ): Promise<{ position: TopicPosition; keys: string[] } | undefined> {
    const found = await this.#run(scripts.changesAfter, topic, runId, String(version));
    if (found === null) return undefined;
    const parts = answer(found);
    return { position: toPosition(parts), keys: strings.read(parts[2], "keys") };
  }

  subscribe(onChange: (change: TopicChange | undefined) => void): () => void {
    this.#onChange.add(onChange);
    return () => this.#onChange.delete(onChange);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearTimeout(this.#sweeper);
    this.#sweeper = undefined;
    this.#onChange.clear();
    this.#redis.disconnect();
    this.#subscriber.disconnect();
  }

  #watch(): void {
    const redis = this.#redis;
    const subscriber = this.#subscriber;
    redis.on("error", (error) => this.#log.debug({ err: error }, "Redis failed"));
    subscriber.on("error", (error) => this.#log.debug({ err: error }, "Redis failed"));
    redis.on("close", () => {
      if (this.#sweeper !== undefined) this.#log.warn("Redis is away; limits hold by process");
    });
    // First in the connection's order, before any command of others.
    redis.on("ready", () => {
      this.#run(scripts.begin).catch(() => undefined);
    });
    // The prefix of keys is also that of the channel that the scripts publish on.
    subscriber.on("ready", () => {
      subscriber.subscribe(`${this.#prefix}changes`).then(
        () => this.#tell(undefined),
        () => subscriber.disconnect(true),
      );
    });
    subscriber.on("message", (_channel, message) => {
      const change = readChange(message);
      if (change !== undefined) this.#tell(change);
    });
  }

  #tell(change: TopicChange | undefined): void {
    for (const onChange of this.#onChange) {
      try {
        onChange(change);
      } catch (error) {
        this.#log.error({ err: error }, "a subscriber failed");
      }
    }
  }

  async #sweep(): Promise<void> {
    if (this.isConnected) await this.#run(scripts.sweep).catch(() => undefined);
    if (this.#sweeper === undefined) return;
    this.#sweeper = setTimeout(() => void this.#sweep(), SWEEP_INTERVAL_MS).unref();
  }

  #run({ sha, text }: Script, ...args: string[]): Promise<unknown> {
    return this.#try(async () => {
      try {
        return await this.#redis.evalsha(sha, 1, this.#prefix, ...args);
      } catch (error) {
        if (!(error instanceof Error && error.message.startsWith("NOSCRIPT"))) throw error;
        return this.#redis.eval(text, 1, this.#prefix, ...args);
      }
    });
  }

  async #try<T>(command: () => Promise<T>): Promise<T> {
    try {
      return await command();
    } catch (cause) {
      // Redis itself refused: it is full, loading, read-only, or a script is wrong.
      if (cause instanceof Error && cause.name === "ReplyError") {
        this.#log.error({ err: cause }, "Redis refused a command");
      }
      throw new EphemeralUnavailable("Redis is away", { cause });
    }
  }
}

function ttl({ ttlMs }: WriteOptions): string {
  return ttlMs === undefined ? "" : String(Math.max(1, Math.ceil(ttlMs)));
}

function answer(value: unknown): unknown[] {
  if (!Array.isArray(value)) throw new Error("Redis gave something that no script of ours gives");
  return value;
}

function toPosition([runId, version]: unknown[]): TopicPosition {
  return { runId: string.read(runId, "run"), version: integer().read(version, "version") };
}

/** @returns undefined for what no script of ours publishes */
function readChange(message: string): TopicChange | undefined {
  try {
    const parts: unknown = JSON.parse(message);
    const [topic, key, runId, version] = answer(parts);
    return {
      topic: string.read(topic, "topic"),
      key: string.read(key, "key"),
      ...toPosition([runId, version]),
    };
  } catch {
    return undefined;
  }
}
