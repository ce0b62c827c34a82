/** Locks by key, within this process: who asks first is first. */
export class Mutex<K> {
  readonly #tails = new Map<K, Promise<unknown>>();

  /** Runs `work` when nothing else of the key is running. */
  async run<T>(key: K, work: () => Promise<T>): Promise<T> {
    const before = this.#tails.get(key);
    const result = before === undefined ? work() : before.then(work, work);
    this.#tails.set(key, result);
    try {
      return await result;
    } finally {
      if (this.#tails.get(key) === result) this.#tails.delete(key);
    }
  }
}
