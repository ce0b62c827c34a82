/** What client SDKs, made for browsers and for programs of their own, need around them in a test. */

const silent = (): void => undefined;

/** They log every step: this keeps the output to the tests' own lines. */
export function silenceConsole(): void {
  for (const level of ["trace", "debug", "info", "log", "warn", "error"] as const) {
    console[level] = silent;
  }
}

const LONG_MS = 30_000;

/** matrix-js-sdk leaves the time limits of its requests ticking: they must not keep the process. */
export function releaseLongTimers(): void {
  globalThis.setTimeout = new Proxy(setTimeout, {
    apply(target, self, args: Parameters<typeof setTimeout>) {
      const timer = Reflect.apply(target, self, args);
      return (args[1] ?? 0) >= LONG_MS ? timer.unref() : timer;
    },
  });
}
