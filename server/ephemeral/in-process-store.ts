/** The ephemeral store within one process. It begins a new run with each start. */
import { randomUUID } from "node:crypto";
import type {
  Bucket,
  BucketAnswer,
  EphemeralStore,
  TopicChange,
  TopicPosition,
  WriteOptions,
} from "./ephemeral.ts";
import { TokenBuckets } from "./token-buckets.ts";

/** Changes of a topic that are remembered; who is further behind takes everything as changed. */
const MAX_CHANGES = 10_000;
/** How exactly an end of life is kept, in ms. */
const TICK_MS = 100;

interface Entry {
  value: string;
  /** Monotonic time in ms; Infinity for ever. */
  endsAt: number;
  topic: string | undefined;
}

interface Topic {
  version: number;
  /** The version of each key's last change, oldest first. */
  changes: Map<string, number>;
  /** Changes up to this version may have been forgotten. */
  floor: number;
}

export interface InProcessStoreOptions {
  /** Monotonic time in ms. */
  now?: () => number;
  onError: (error: unknown) => void;
}

export class InProcessStore implements EphemeralStore {
  readonly #runId = randomUUID();
  readonly #values = new Map<string, Entry>();
  readonly #hashes = new Map<string, Map<string, Entry>>();
  readonly #topics = new Map<string, Topic>();
  readonly #buckets = new TokenBuckets();
  readonly #subscribers = new Set<(change: TopicChange) => void>();
  /** What ends when: by tick, the values and members to look at. */
  readonly #ends = new Map<number, { key: string; member: string | undefined }[]>();
  readonly #now: () => number;
  readonly #onError: (error: unknown) => void;
  #timer: NodeJS.Timeout | undefined;

  constructor({ now = () => performance.now(), onError }: InProcessStoreOptions) {
    this.#now = now;
    this.#onError = onError;
  }

  async get(key: string): Promise<string | undefined> {
    return this.#alive(this.#values.get(key))?.value;
  }

  async getMany(keys: readonly string[]): Promise<(string | undefined)[]> {
    return keys.map((key) => this.#alive(this.#values.get(key))?.value);
  }

  async put(key: string, value: string, options: WriteOptions = {}): Promise<void> {
    const before = this.#alive(this.#values.get(key));
    this.#values.set(key, this.#entry(value, options, key, undefined));
    if (before?.value !== value) this.#change(options.topic, key);
  }

  async remove(key: string, { topic }: { topic?: string } = {}): Promise<void> {
    const wasThere =
      this.#alive(this.#values.get(key)) !== undefined || this.#aliveMembers(key).length > 0;
    this.#values.delete(key);
    this.#hashes.delete(key);
    if (wasThere) this.#change(topic, key);
  }

  async members(key: string): Promise<Map<string, string>> {
    return new Map(this.#aliveMembers(key).map(([member, { value }]) => [member, value]));
  }

  async putMember(
    key: string,
    member: string,
    value: string,
    options: WriteOptions = {},
  ): Promise<void> {
    const hash = this.#hashes.get(key) ?? new Map<string, Entry>();
    const before = this.#alive(hash.get(member));
    this.#hashes.set(key, hash.set(member, this.#entry(value, options, key, member)));
    if (before?.value !== value) this.#change(options.topic, key);
  }

  async removeMember(
    key: string,
    member: string,
    { topic }: { topic?: string } = {},
  ): Promise<void> {
    const wasThere = this.#alive(this.#hashes.get(key)?.get(member)) !== undefined;
    this.#dropMember(key, member);
    if (wasThere) this.#change(topic, key);
  }

  async takeTokens(key: string, bucket: Bucket, cost = 1): Promise<BucketAnswer> {
    return this.#buckets.take(key, bucket, cost, this.#now());
  }

  async touch(topic: string, key: string): Promise<TopicPosition> {
    this.#change(topic, key);
    return this.position(topic);
  }

  async position(topic: string): Promise<TopicPosition> {
    return { runId: this.#runId, version: this.#topics.get(topic)?.version ?? 0 };
  }

  async changesAfter(
    name: string,
    { runId, version }: TopicPosition,
  ): Promise<{ position: TopicPosition; keys: string[] } | undefined> {
    const topic = this.#topics.get(name) ?? { version: 0, changes: new Map(), floor: 0 };
    if (runId !== this.#runId || version < topic.floor || version > topic.version) return undefined;
    const keys: string[] = [];
    // Newest first, until what was seen.
    for (const [key, changedAt] of [...topic.changes].reverse()) {
      if (changedAt <= version) break;
      keys.push(key);
    }
    return { position: { runId, version: topic.version }, keys: keys.reverse() };
  }

  subscribe(onChange: (change: TopicChange | undefined) => void): () => void {
    this.#subscribers.add(onChange);
    return () => this.#subscribers.delete(onChange);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearTimeout(this.#timer);
    this.#subscribers.clear();
  }

  #entry(
    value: string,
    { ttlMs = Infinity, topic }: WriteOptions,
    key: string,
    member: string | undefined,
  ): Entry {
    const endsAt = this.#now() + ttlMs;
    if (endsAt !== Infinity) {
      const tick = Math.ceil(endsAt / TICK_MS);
      const ends = this.#ends.get(tick);
      if (ends === undefined) this.#ends.set(tick, [{ key, member }]);
      else ends.push({ key, member });
      this.#timer ??= setTimeout(() => this.#sweep(), TICK_MS).unref();
    }
    return { value, endsAt, topic };
  }

  #alive(entry: Entry | undefined): Entry | undefined {
    return entry !== undefined && entry.endsAt > this.#now() ? entry : undefined;
  }

  #aliveMembers(key: string): [string, Entry][] {
    return [...(this.#hashes.get(key) ?? [])].filter(([, e]) => this.#alive(e) !== undefined);
  }

  #dropMember(key: string, member: string): void {
    const hash = this.#hashes.get(key);
    hash?.delete(member);
    if (hash?.size === 0) this.#hashes.delete(key);
  }

  /** Removes what has ended. An entry written again since has another end, and stays. */
  #sweep(): void {
    this.#timer = undefined;
    const now = this.#now();
    for (const [tick, ends] of this.#ends) {
      if (tick * TICK_MS > now) continue;
      this.#ends.delete(tick);
      for (const { key, member } of ends) {
        const entry =
          member === undefined ? this.#values.get(key) : this.#hashes.get(key)?.get(member);
        if (entry === undefined || entry.endsAt > now) continue;
        if (member === undefined) this.#values.delete(key);
        else this.#dropMember(key, member);
        this.#change(entry.topic, key);
      }
    }
    if (this.#ends.size > 0) this.#timer ??= setTimeout(() => this.#sweep(), TICK_MS).unref();
  }

  #change(name: string | undefined, key: string): void {
    if (name === undefined) return;
    const topic = this.#topics.get(name) ?? { version: 0, changes: new Map(), floor: 0 };
    this.#topics.set(name, topic);
    topic.version += 1;
    topic.changes.delete(key);
    topic.changes.set(key, topic.version);
    for (const [oldest, version] of topic.changes) {
      if (topic.changes.size <= MAX_CHANGES) break;
      topic.changes.delete(oldest);
      topic.floor = version;
    }
    const change = { topic: name, key, runId: this.#runId, version: topic.version };
    queueMicrotask(() => {
      for (const subscriber of this.#subscribers) {
        try {
          subscriber(change);
        } catch (error) {
          this.#onError(error);
        }
      }
    });
  }
}
