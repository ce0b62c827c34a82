/**
 * What `server/http.ts` adds to a request, over 200 routes: bare Koa is the yardstick, and @koa/router in one
 * router and in small ones the alternatives.
 *
 * It is judged by the server's CPU time, which says the same on a busy machine.
 */
import { fork } from "node:child_process";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { table } from "./load.ts";

/** Least share of bare Koa's requests for the same CPU time. */
const LEAST = 0.6;
const CONNECTIONS = 32;
const REQUEST =
  "GET /_matrix/client/v3/admin/op19/abc HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer abc\r\n\r\n";

const KINDS = {
  koa: "bare Koa",
  ours: "server/http.ts, logging",
  quiet: "server/http.ts, log off",
  small: "Koa, @koa/router, ten routers",
  one: "Koa, @koa/router, one router",
} as const;
export type Kind = keyof typeof KINDS;

export async function http({ seconds }: { seconds: number }): Promise<boolean> {
  const cost: Partial<Record<Kind, number>> = {};
  for (const kind of Object.keys(KINDS) as Kind[]) cost[kind] = await measure(kind, seconds);
  const bare = cost.koa ?? NaN;
  table(
    Object.entries(cost).map(([kind, microseconds]) => ({
      server: KINDS[kind as Kind],
      "CPU µs a request": microseconds,
      "of bare Koa": bare / microseconds,
    })),
  );
  return bare / (cost.quiet ?? Infinity) >= LEAST;
}

/** @returns CPU time in µs that the server's process takes for a request */
async function measure(kind: Kind, seconds: number): Promise<number> {
  const child = fork(new URL("./http-process.ts", import.meta.url), [kind], {
    execArgv: [],
    // The log goes nowhere, but is written.
    stdio: ["ignore", "ignore", "inherit", "ipc"],
  });
  const ask = async (): Promise<number> => {
    const answer = once(child, "message");
    child.send("cpu");
    const [microseconds] = (await answer) as [number];
    return microseconds;
  };
  const [port] = (await once(child, "message")) as [number];
  await load(port, 1);
  const before = await ask();
  const requests = await load(port, seconds);
  const after = await ask();
  child.kill();
  await once(child, "exit");
  return (after - before) / requests;
}

/** Sends request after request on each connection. @returns how many were answered */
async function load(port: number, seconds: number): Promise<number> {
  let answered = 0;
  let isOver = false;
  const sockets = Array.from({ length: CONNECTIONS }, () => {
    const socket = connect(port, "127.0.0.1").setNoDelay(true);
    socket.on("connect", () => socket.write(REQUEST));
    onAnswer(socket, () => {
      answered += 1;
      if (!isOver) socket.write(REQUEST);
    });
    return socket;
  });
  await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
  isOver = true;
  for (const socket of sockets) socket.destroy();
  return answered;
}

/** Answers are told by their status lines: a parser would cost more than the server. */
function onAnswer(socket: Socket, tell: () => void): void {
  let tail = "";
  socket.on("data", (chunk: Buffer) => {
    const text = tail + chunk.toString("latin1");
    tail = text.slice(-8);
    for (let at = text.indexOf("HTTP/1.1 "); at >= 0; at = text.indexOf("HTTP/1.1 ", at + 9))
      tell();
  });
}
