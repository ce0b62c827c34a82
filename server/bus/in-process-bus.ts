/** The bus within one process; several servers of one process may share it. */
import type { Bus, StreamRange } from "./bus.ts";

type OnRange = (range: StreamRange | undefined) => void;
type OnMessage = (message: string) => void;

export class InProcessBus implements Bus {
  readonly #ranges = new Set<OnRange>();
  readonly #topics = new Map<string, Set<OnMessage>>();
  readonly #onError: (error: unknown) => void;

  /** @param onError is told what a subscriber threw; the others hear the message all the same */
  constructor(onError: (error: unknown) => void) {
    this.#onError = onError;
  }

  publish(range: StreamRange): void {
    this.#later(this.#ranges, range);
  }

  /** Tells subscribers that they may have missed something. */
  publishGap(): void {
    this.#later(this.#ranges, undefined);
  }

  subscribe(onRange: OnRange): () => void {
    this.#ranges.add(onRange);
    return () => this.#ranges.delete(onRange);
  }

  send(topic: string, message: string): void {
    const listeners = this.#topics.get(topic);
    if (listeners !== undefined) this.#later(listeners, message);
  }

  listen(topic: string, onMessage: OnMessage): () => void {
    const listeners = this.#topics.get(topic) ?? new Set();
    this.#topics.set(topic, listeners.add(onMessage));
    return () => {
      listeners.delete(onMessage);
      if (listeners.size === 0 && this.#topics.get(topic) === listeners) this.#topics.delete(topic);
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#ranges.clear();
    this.#topics.clear();
  }

  /** Not within the call, so that whoever publishes has finished first; microtasks keep their order. */
  #later<T>(subscribers: ReadonlySet<(value: T) => void>, value: T): void {
    queueMicrotask(() => {
      for (const subscriber of subscribers) {
        try {
          subscriber(value);
        } catch (error) {
          this.#onError(error);
        }
      }
    });
  }
}
