/** Token buckets in memory: a bounded number, the longest unused forgotten first. */
import { LRUCache } from "lru-cache";
import type { Bucket, BucketAnswer } from "./ephemeral.ts";

const MAX_BUCKETS = 200_000;

export class TokenBuckets {
  readonly #buckets = new LRUCache<string, { tokens: number; at: number }>({ max: MAX_BUCKETS });

  /** @param now monotonic time in ms */
  take(key: string, { perSecond, burst }: Bucket, cost: number, now: number): BucketAnswer {
    const held = this.#buckets.get(key);
    const tokens =
      held === undefined
        ? burst
        : Math.min(burst, held.tokens + (Math.max(0, now - held.at) / 1000) * perSecond);
    const allowed = tokens >= cost;
    this.#buckets.set(key, { tokens: allowed ? tokens - cost : tokens, at: now });
    return { allowed, retryAfterMs: allowed ? 0 : waitMs(cost - tokens, perSecond) };
  }
}

/** Infinity where no tokens ever come back. */
function waitMs(missing: number, perSecond: number): number {
  return perSecond > 0 ? Math.ceil((missing / perSecond) * 1000) : Infinity;
}
