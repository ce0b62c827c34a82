/** What tests share. */
import { setTimeout as sleep } from "node:timers/promises";

/**
 * Waits until something is true, doing it again every now and then.
 *
 * @param attempt does it, and gives what asks whether it worked
 */
export async function until(
  attempt: () => () => boolean | Promise<boolean>,
  { timeoutMs = 10_000, retryMs = 200 }: { timeoutMs?: number; retryMs?: number } = {},
): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  while (performance.now() < deadline) {
    const isDone = attempt();
    const retryAt = performance.now() + retryMs;
    while (performance.now() < retryAt) {
      if (await isDone()) return;
      await sleep(5);
    }
  }
  throw new Error("waited in vain");
}
