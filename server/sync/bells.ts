/** Wakes long-polls, a few in each turn of the event loop, so that nobody else waits for a crowd. */
import type { UserId } from "../../spec/identifiers.ts";

/** Waiters let go in one turn. */
const PER_TURN = 8;

/** Lets callers pass in the order they came, a few a turn. */
export class Turnstile {
  #queue: (() => void)[] = [];
  #isRunning = false;

  pass(): Promise<void> {
    return new Promise((resolve) => {
      this.#queue.push(resolve);
      if (this.#isRunning) return;
      this.#isRunning = true;
      setImmediate(() => this.#run());
    });
  }

  #run(): void {
    for (const resolve of this.#queue.splice(0, PER_TURN)) resolve();
    if (this.#queue.length > 0) setImmediate(() => this.#run());
    else this.#isRunning = false;
  }
}

/** What a waiting device listens to. */
export interface Bell extends Disposable {
  /** From here on, what rings counts. */
  reset(): void;
  /**
   * Resolves when it was rung since the last reset, when the time is over, or when the signal is
   * aborted.
   *
   * @returns whether it was rung
   */
  wait(timeoutMs: number, signal?: AbortSignal): Promise<boolean>;
  ring(): void;
}

export class Bells {
  readonly #byUser = new Map<UserId, Set<Bell>>();

  /** Hangs up a bell for a user's device. */
  hang(userId: UserId): Bell {
    let isRung = false;
    let wake: ((rung: boolean) => void) | undefined;
    const bell: Bell = {
      reset() {
        isRung = false;
      },
      ring() {
        isRung = true;
        wake?.(true);
      },
      wait(timeoutMs, signal) {
        if (isRung) return Promise.resolve(true);
        if (signal?.aborted === true) return Promise.resolve(false);
        return new Promise((resolve) => {
          const done = (rung: boolean): void => {
            clearTimeout(timer);
            signal?.removeEventListener("abort", onAbort);
            wake = undefined;
            resolve(rung);
          };
          const onAbort = (): void => done(false);
          const timer = setTimeout(() => done(false), timeoutMs);
          signal?.addEventListener("abort", onAbort, { once: true });
          wake = done;
        });
      },
      [Symbol.dispose]: () => {
        const bells = this.#byUser.get(userId);
        bells?.delete(bell);
        if (bells?.size === 0) this.#byUser.delete(userId);
      },
    };
    const bells = this.#byUser.get(userId);
    if (bells === undefined) this.#byUser.set(userId, new Set([bell]));
    else bells.add(bell);
    return bell;
  }

  /** Rings all bells of a user. */
  ring(userId: UserId): void {
    for (const bell of this.#byUser.get(userId) ?? []) bell.ring();
  }

  /** The users who have a bell. */
  users(): Iterable<UserId> {
    return this.#byUser.keys();
  }
}
