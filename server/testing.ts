/** What tests share. */
import { connect } from "node:net";
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

/**
 * Why tests that need a server are skipped: there is none. False where it answers.
 *
 * With GOMIN_TEST_REQUIRE_SERVERS nothing is skipped, so that what is missing fails.
 */
export async function absence(name: string, url: string): Promise<string | false> {
  if (process.env["GOMIN_TEST_REQUIRE_SERVERS"] !== undefined) return false;
  const { hostname, port } = new URL(url);
  const answers = await new Promise<boolean>((resolve) => {
    const socket = connect({ host: hostname, port: Number(port) });
    socket.on("connect", () => resolve(true)).on("error", () => resolve(false));
    socket.on("connect", () => socket.destroy());
  });
  return answers ? false : `there is no ${name} at ${hostname}:${port}`;
}
