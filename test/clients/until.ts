/** Waits for what a client comes to know in its own time. */
import { setTimeout as delay } from "node:timers/promises";

const LOOK_AGAIN_MS = 20;

/**
 * Looks until something is there.
 *
 * @param what what is waited for, for the message of a failure
 * @param look gives what it found, or undefined or false
 * @returns what it found
 * @throws Error where it is not there within `withinMs`
 */
export async function until<T>(
  what: string,
  look: () => T | undefined | false | null | Promise<T | undefined | false | null>,
  { withinMs = 15_000 } = {},
): Promise<T> {
  const deadline = performance.now() + withinMs;
  for (;;) {
    const found = await look();
    if (found !== undefined && found !== false && found !== null) return found;
    if (performance.now() > deadline) throw new Error(`waited in vain until ${what}`);
    await delay(LOOK_AGAIN_MS);
  }
}
