/** Client SDKs log every step: this keeps the output to the tests' own lines. */
const silent = (): void => undefined;

export function silenceConsole(): void {
  for (const level of ["trace", "debug", "info", "log", "warn", "error"] as const) {
    console[level] = silent;
  }
}
