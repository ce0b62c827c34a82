/** What tests share. */
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
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

/** A way to a server on this machine that can be cut, for what happens when the server is away. */
export interface Proxy {
  port: number;
  /** Ends all connections and takes no more. */
  cut(): Promise<void>;
  restore(): Promise<void>;
}

/** @param to the server's port */
export async function openProxy(to: number): Promise<Proxy> {
  const sockets = new Set<Socket>();
  const open = async (port: number): Promise<Server> => {
    const server = createServer((inside) => {
      const outside = connect(to, "127.0.0.1");
      for (const [from, other] of [
        [inside, outside],
        [outside, inside],
      ] as const) {
        sockets.add(from);
        from.pipe(other);
        from.on("error", () => other.destroy());
        from.on("close", () => {
          sockets.delete(from);
          other.destroy();
        });
      }
    });
    server.listen(port, "127.0.0.1");
    await once(server, "listening");
    return server;
  };
  let server = await open(0);
  // A TCP server's address is never a path.
  const { port } = server.address() as AddressInfo;
  return {
    port,
    async cut() {
      const closed = once(server, "close");
      server.close();
      for (const socket of sockets) socket.destroy();
      await closed;
    },
    async restore() {
      server = await open(port);
    },
  };
}
