/** Work that is done again and again while the server runs. */

/**
 * @param firstMs time in ms until the work is first done; `everyMs` from its end to the next time
 * @param onError is told where it failed; it is then done again at its time
 */
export function repeat(
  work: () => Promise<void>,
  options: { firstMs: number; everyMs: number; onError(error: unknown): void },
): AsyncDisposable {
  const { firstMs, everyMs, onError } = options;
  let running: Promise<void> = Promise.resolve();
  let isEnded = false;
  let timer = setTimeout(run, firstMs).unref();

  function run(): void {
    running = work()
      .catch(onError)
      .then(() => {
        if (!isEnded) timer = setTimeout(run, everyMs).unref();
      });
  }

  return {
    async [Symbol.asyncDispose]() {
      isEnded = true;
      clearTimeout(timer);
      await running;
    },
  };
}
