/**
 * Passwords: hashed with argon2id, off the event loop, a few at a time.
 *
 * A password is brought into NFC, here and nowhere else, so that it is the same whatever keyboard
 * typed it.
 */
import { availableParallelism } from "node:os";
import { hash, verify } from "@node-rs/argon2";
import { MatrixError } from "../../spec/errors.ts";

export interface PasswordPolicy {
  /** Fewest characters (code points). */
  minimum_length: number;
  require_digit: boolean;
  require_symbol: boolean;
  require_lowercase: boolean;
  require_uppercase: boolean;
}

export const DEFAULT_POLICY: PasswordPolicy = {
  minimum_length: 8,
  require_digit: false,
  require_symbol: false,
  require_lowercase: false,
  require_uppercase: false,
};

/** Most characters: nobody types more, and hashing must not become work for free. */
const MAX_LENGTH = 512;
/** https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html#argon2id */
const COST = { memoryCost: 19_456, timeCost: 2, parallelism: 1 };
const CURRENT = `$argon2id$v=19$m=${COST.memoryCost},t=${COST.timeCost},p=${COST.parallelism}$`;
/** The hash of a password that nobody has, at the same cost. */
const DECOY = `${CURRENT}V+ZgZpzvLPabKTFKEegU0w$RdLgCdRiOitHoFj8OrMPXBhYkXJRVlEt6WvJLorvzNA`;
/** Hashes that may wait. A longer queue would only make everybody give up. */
const MAX_WAITING = 512;
const RETRY_MS = 5_000;

export interface Verdict {
  isRight: boolean;
  /** Right, and its hash should be made anew with today's cost. */
  isOutdated: boolean;
}

export class Passwords {
  readonly #policy: PasswordPolicy;
  readonly #slots: number;
  readonly #maxWaiting: number;
  readonly #waiting: (() => void)[] = [];
  #running = 0;

  /** @param slots hashes under way at once; by default one core is left for the event loop */
  constructor(
    policy: PasswordPolicy = DEFAULT_POLICY,
    {
      slots = Math.max(1, Math.min(4, availableParallelism()) - 1),
      maxWaiting = MAX_WAITING,
    }: { slots?: number; maxWaiting?: number } = {},
  ) {
    this.#policy = policy;
    this.#slots = slots;
    this.#maxWaiting = maxWaiting;
  }

  /** @throws MatrixError M_WEAK_PASSWORD for one that may not be set */
  check(password: string): void {
    const text = password.normalize("NFC");
    const length = lengthOf(text);
    const policy = this.#policy;
    const problem =
      length < policy.minimum_length
        ? `shorter than ${policy.minimum_length} characters`
        : length > MAX_LENGTH
          ? `longer than ${MAX_LENGTH} characters`
          : policy.require_digit && !/\p{Nd}/u.test(text)
            ? "without a digit"
            : policy.require_symbol && !/[^\p{L}\p{N}]/u.test(text)
              ? "without a symbol"
              : policy.require_lowercase && !/\p{Ll}/u.test(text)
                ? "without a small letter"
                : policy.require_uppercase && !/\p{Lu}/u.test(text)
                  ? "without a capital letter"
                  : undefined;
    if (problem !== undefined) {
      throw new MatrixError("M_WEAK_PASSWORD", `The password is ${problem}`);
    }
  }

  /** @throws MatrixError M_LIMIT_EXCEEDED while too many wait */
  hash(password: string): Promise<string> {
    return this.#enqueue(() => hash(password.normalize("NFC"), COST));
  }

  /**
   * Takes as long where there is no hash to compare with, so that time does not tell who exists.
   *
   * @throws MatrixError M_LIMIT_EXCEEDED while too many wait
   */
  async verify(password: string, stored: string | null | undefined): Promise<Verdict> {
    const text = password.normalize("NFC");
    if (text === "" || lengthOf(text) > MAX_LENGTH) return { isRight: false, isOutdated: false };
    const against = stored ?? DECOY;
    const matches = await this.#enqueue(() => verify(against, text));
    const isRight = matches && stored === against;
    return { isRight, isOutdated: isRight && !against.startsWith(CURRENT) };
  }

  async #enqueue<T>(work: () => Promise<T>): Promise<T> {
    if (this.#running >= this.#slots) {
      if (this.#waiting.length >= this.#maxWaiting) {
        throw new MatrixError("M_LIMIT_EXCEEDED", "Too many logins at once", {
          fields: { retry_after_ms: RETRY_MS },
        });
      }
      // Whoever ends hands its slot over.
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    } else {
      this.#running += 1;
    }
    try {
      return await work();
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#running -= 1;
      else next();
    }
  }
}

function lengthOf(text: string): number {
  // A string of code points has at most as many as it has UTF-16 units.
  return text.length > 4 * MAX_LENGTH ? text.length : Array.from(text).length;
}
