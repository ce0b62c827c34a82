/** Rate limits: https://spec.matrix.org/v1.19/client-server-api/#rate-limiting */
import { isIP } from "node:net";
import { MatrixError } from "../../spec/errors.ts";
import {
  type Bucket,
  type EphemeralStore,
  EphemeralUnavailable,
  TokenBuckets,
} from "../ephemeral/ephemeral.ts";
import type { Caller } from "../route.ts";

/** The limits and what they are where the configuration says nothing. */
export const DEFAULT_LIMITS = {
  rc_message: { perSecond: 1, burst: 50 },
  rc_registration: { perSecond: 0.17, burst: 5 },
  rc_registration_token_validity: { perSecond: 0.1, burst: 5 },
  "rc_login.address": { perSecond: 0.1, burst: 20 },
  "rc_login.account": { perSecond: 0.1, burst: 10 },
  "rc_login.failed_attempts": { perSecond: 0.05, burst: 5 },
  rc_admin_redaction: { perSecond: 10, burst: 100 },
  "rc_joins.local": { perSecond: 0.5, burst: 20 },
  "rc_joins.remote": { perSecond: 0.1, burst: 10 },
  rc_joins_per_room: { perSecond: 5, burst: 50 },
  rc_3pid_validation: { perSecond: 0.003, burst: 5 },
  "rc_invites.per_room": { perSecond: 0.3, burst: 20 },
  "rc_invites.per_user": { perSecond: 0.05, burst: 10 },
  "rc_invites.per_issuer": { perSecond: 0.3, burst: 20 },
  "rc_presence.per_user": { perSecond: 0.5, burst: 10 },
  rc_media_create: { perSecond: 10, burst: 50 },
  rc_room_creation: { perSecond: 0.2, burst: 20 },
  rc_user_directory: { perSecond: 1, burst: 30 },
  rc_reports: { perSecond: 0.1, burst: 5 },
  rc_key_requests: { perSecond: 20, burst: 100 },
} as const satisfies Record<string, Bucket>;

export type RateLimitName = keyof typeof DEFAULT_LIMITS;
export type RateLimitSettings = Readonly<Record<RateLimitName, Bucket>>;

export interface RateLimitsOptions {
  /** False turns all limits off. */
  enabled: boolean;
  limits: RateLimitSettings;
  /** Application services that asked not to be limited. */
  isExempt?: (caller: Caller) => boolean;
}

/** Counts requests. While the shared store is away, each process counts for itself. */
export class RateLimits {
  readonly #store: Pick<EphemeralStore, "takeTokens">;
  readonly #options: RateLimitsOptions;
  readonly #local = new TokenBuckets();

  constructor(store: Pick<EphemeralStore, "takeTokens">, options: RateLimitsOptions) {
    this.#store = store;
    this.#options = options;
  }

  /**
   * Counts one request of a caller, or of an address where nobody is logged in.
   *
   * @throws MatrixError M_LIMIT_EXCEEDED
   */
  async takeFor(
    name: RateLimitName,
    who: { caller: Caller | undefined; clientAddress: string },
  ): Promise<void> {
    const { caller, clientAddress } = who;
    if (caller === undefined) return this.take(name, addressKey(clientAddress));
    if (this.#options.isExempt?.(caller) === true) return;
    return this.take(name, caller.userId);
  }

  /**
   * Counts against any key: a room ID, a user ID, an address made a key by `addressKey`.
   *
   * @throws MatrixError M_LIMIT_EXCEEDED
   */
  async take(name: RateLimitName, key: string, cost = 1): Promise<void> {
    if (!this.#options.enabled) return;
    const bucket = this.#options.limits[name];
    const { allowed, retryAfterMs } = await this.#ask(`${name} ${key}`, bucket, cost);
    if (!allowed) throw limitExceeded(retryAfterMs);
  }

  async #ask(
    key: string,
    bucket: Bucket,
    cost: number,
  ): Promise<{ allowed: boolean; retryAfterMs: number }> {
    try {
      return await this.#store.takeTokens(`rate ${key}`, bucket, cost);
    } catch (error) {
      if (!(error instanceof EphemeralUnavailable)) throw error;
      return this.#local.take(key, bucket, cost, performance.now());
    }
  }
}

/** An IPv4 address itself; of IPv6 the /64, which one household or machine holds whole. */
export function addressKey(address: string): string {
  if (isIP(address) !== 6) return address;
  const [head = "", tail] = address.toLowerCase().split("::");
  const front = head === "" ? [] : head.split(":");
  const back = tail === undefined || tail === "" ? [] : tail.split(":");
  // A dotted tail stands for two groups.
  const backLength = back.length + (back.at(-1)?.includes(".") === true ? 1 : 0);
  const zeros = tail === undefined ? 0 : Math.max(0, 8 - front.length - backLength);
  const groups = [...front, ...Array<string>(zeros).fill("0"), ...back].slice(0, 4);
  return `${groups.map((group) => Number.parseInt(group, 16).toString(16)).join(":")}::/64`;
}

function limitExceeded(retryAfterMs: number): MatrixError {
  const fields = Number.isFinite(retryAfterMs) ? { retry_after_ms: Math.ceil(retryAfterMs) } : {};
  return new MatrixError("M_LIMIT_EXCEEDED", "Too many requests", { fields });
}
