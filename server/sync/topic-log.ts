/** The last changes of a topic of the ephemeral store, as this process has heard of them. */
import type { EphemeralStore, TopicChange, TopicPosition } from "../ephemeral/ephemeral.ts";
import { markOf, NO_MARK, type TopicMark } from "./sync-tokens.ts";

const MAX_CHANGES = 5000;

export interface TopicLogOptions {
  store: Pick<EphemeralStore, "position" | "subscribe">;
  topic: string;
  /** Hears of each change: a key, or undefined where all may have changed. */
  onChange(key: string | undefined): void;
  /** Is told of a store that could not be reached; the topic goes on without it. */
  onError(error: unknown): void;
}

export class TopicLog implements Disposable {
  readonly #options: TopicLogOptions;
  readonly #unsubscribe: () => void;
  #runId: string | undefined;
  #mark: TopicMark = NO_MARK;
  /** Contiguous: everything after `#start`. */
  #changes: { version: number; key: string }[] = [];
  #start = 0;
  #isClosed = false;

  constructor(options: TopicLogOptions) {
    this.#options = options;
    this.#unsubscribe = options.store.subscribe((change) => this.#hear(change));
    this.#reset();
  }

  /** How much is known. */
  get mark(): TopicMark {
    return this.#mark;
  }

  /** The keys that changed after a mark, each once; undefined where that is not known. */
  after({ run, version }: TopicMark): Set<string> | undefined {
    if (run !== this.#mark.run || version < this.#start) return undefined;
    const keys = new Set<string>();
    for (let i = this.#changes.length - 1; i >= 0; i -= 1) {
      const change = this.#changes[i];
      if (change === undefined || change.version <= version) break;
      keys.add(change.key);
    }
    return keys;
  }

  [Symbol.dispose](): void {
    this.#isClosed = true;
    this.#unsubscribe();
  }

  #hear(change: TopicChange | undefined): void {
    if (change === undefined) this.#reset();
    else if (change.topic === this.#options.topic) {
      if (change.runId !== this.#runId) this.#begin(change, change.version - 1);
      else if (change.version <= this.#mark.version) return;
      this.#mark = { run: this.#mark.run, version: change.version };
      this.#changes.push({ version: change.version, key: change.key });
      if (this.#changes.length > MAX_CHANGES * 1.25) {
        const drop = this.#changes.length - MAX_CHANGES;
        this.#start = this.#changes[drop - 1]?.version ?? this.#start;
        this.#changes = this.#changes.slice(drop);
      }
      this.#options.onChange(change.key);
    }
  }

  /** Asks where the topic stands, when changes may have been missed. */
  #reset(): void {
    const { store, topic, onChange, onError } = this.#options;
    store.position(topic).then(
      (position) => {
        const isSame = position.runId === this.#runId && position.version === this.#mark.version;
        if (this.#isClosed || isSame) return;
        if (position.runId === this.#runId && position.version < this.#mark.version) return;
        const isFirst = this.#runId === undefined;
        this.#begin(position, position.version);
        if (!isFirst) onChange(undefined);
      },
      (error: unknown) => {
        if (!this.#isClosed) onError(error);
      },
    );
  }

  #begin(position: TopicPosition, start: number): void {
    this.#runId = position.runId;
    this.#mark = { ...markOf(position), version: start };
    this.#changes = [];
    this.#start = start;
  }
}
