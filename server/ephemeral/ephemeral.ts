/**
 * The ephemeral store: what all processes share and may lose without harm. Typing, presence, rate
 * limits, last-seen times, connections of sliding sync.
 *
 * Everything in it fits one of four forms: a value, a hash of members, a token bucket, a lock-free
 * counter of changes (a *topic*). A topic's version grows by one with each change of one of its
 * keys; `changesAfter` then says which keys a client has not seen. Versions mean something within one
 * run of the store only, so a position names its run.
 */

export { TokenBuckets } from "./token-buckets.ts";

/** How far somebody has seen a topic. */
export interface TopicPosition {
  /** Changes when the store was emptied or replaced. */
  runId: string;
  version: number;
}

export interface TopicChange extends TopicPosition {
  topic: string;
  key: string;
}

export interface WriteOptions {
  /** Removed by itself after this time, in ms. */
  ttlMs?: number;
  /** The topic whose version grows if this write, or its end after `ttlMs`, changes what is read. */
  topic?: string;
}

export interface Bucket {
  /** Tokens that come back each second. */
  perSecond: number;
  /** Most tokens that the bucket holds; a new one is full. */
  burst: number;
}

export interface BucketAnswer {
  allowed: boolean;
  /** Time in ms after which the same request would be allowed; 0 where it was. */
  retryAfterMs: number;
}

/** Every method rejects with `EphemeralUnavailable` while the store cannot be reached. */
export interface EphemeralStore extends AsyncDisposable {
  get(key: string): Promise<string | undefined>;
  getMany(keys: readonly string[]): Promise<(string | undefined)[]>;
  put(key: string, value: string, options?: WriteOptions): Promise<void>;
  remove(key: string, options?: { topic?: string }): Promise<void>;

  /** The members of a hash, those whose time is over left out. */
  members(key: string): Promise<Map<string, string>>;
  putMember(key: string, member: string, value: string, options?: WriteOptions): Promise<void>;
  removeMember(key: string, member: string, options?: { topic?: string }): Promise<void>;

  /** Takes tokens from a bucket if it holds as many, in one step. */
  takeTokens(key: string, bucket: Bucket, cost?: number): Promise<BucketAnswer>;

  /** Marks a key of a topic as changed. */
  touch(topic: string, key: string): Promise<TopicPosition>;
  position(topic: string): Promise<TopicPosition>;
  /**
   * The keys of a topic that changed since a position, each once.
   *
   * @returns undefined where that is no longer known: the reader then takes everything as changed
   */
  changesAfter(
    topic: string,
    position: TopicPosition,
  ): Promise<{ position: TopicPosition; keys: string[] } | undefined>;
  /**
   * Hears changes of all topics, made by this or another process, in the order of their versions.
   *
   * @param onChange is called with undefined where changes may have been missed
   * @returns ends the subscription
   */
  subscribe(onChange: (change: TopicChange | undefined) => void): () => void;
}

/** The store cannot be reached now; the caller goes on without it. */
export class EphemeralUnavailable extends Error {
  override readonly name = "EphemeralUnavailable";
}
