/** Load over HTTP on kept connections, and numbers of what came back. */
import { Agent, request } from "node:http";

export interface Target {
  baseUrl: string;
  token?: string;
}

export interface Answer {
  status: number;
  body: Buffer;
}

/** Sends requests over at most so many connections, which it keeps. */
export class Client implements Disposable {
  readonly #agent: Agent;
  readonly #target: URL;
  readonly #headers: Record<string, string>;

  constructor({ baseUrl, token }: Target, connections: number) {
    this.#agent = new Agent({ keepAlive: true, maxSockets: connections });
    this.#target = new URL(baseUrl);
    this.#headers = token === undefined ? {} : { authorization: `Bearer ${token}` };
  }

  send(method: string, path: string, body?: unknown): Promise<Answer> {
    const payload = body === undefined ? undefined : Buffer.from(JSON.stringify(body));
    return new Promise((resolve, reject) => {
      const call = request(
        {
          agent: this.#agent,
          host: this.#target.hostname,
          port: this.#target.port,
          method,
          path,
          headers: {
            ...this.#headers,
            ...(payload === undefined
              ? {}
              : { "content-type": "application/json", "content-length": payload.length }),
          },
        },
        (response) => {
          const parts: Buffer[] = [];
          response.on("data", (part: Buffer) => parts.push(part));
          response.on("end", () =>
            resolve({ status: response.statusCode ?? 0, body: Buffer.concat(parts) }),
          );
          response.on("error", reject);
        },
      );
      call.on("error", (cause) => reject(new Error(`${method} ${path}`, { cause })));
      call.end(payload);
    });
  }

  /** The same; throws unless the status is 200. */
  async json<T>(method: string, path: string, body?: unknown): Promise<T> {
    const { status, body: bytes } = await this.send(method, path, body);
    if (status !== 200) throw new Error(`${method} ${path}: ${status} ${bytes.toString()}`);
    return JSON.parse(bytes.toString()) as T;
  }

  [Symbol.dispose](): void {
    this.#agent.destroy();
  }
}

/** Runs `work` on so many lanes at once for some seconds. @returns runs per second */
export async function rate(
  lanes: number,
  seconds: number,
  work: (lane: number, i: number) => Promise<unknown>,
): Promise<number> {
  const from = performance.now();
  const until = from + seconds * 1000;
  let done = 0;
  await Promise.all(
    Array.from({ length: lanes }, async (_, lane) => {
      for (let i = 0; performance.now() < until; i += 1) {
        await work(lane, i);
        done += 1;
      }
    }),
  );
  return done / ((performance.now() - from) / 1000);
}

export function median(values: readonly number[]): number {
  return percentile(values, 0.5);
}

export function percentile(values: readonly number[], p: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * p))] ?? NaN;
}

export function table(rows: readonly Record<string, string | number>[]): void {
  const [first] = rows;
  if (first === undefined) return;
  const columns = Object.keys(first);
  const text = (value: string | number): string =>
    typeof value === "number" ? value.toFixed(value < 10 ? 2 : 0) : value;
  const widths = columns.map((column) =>
    Math.max(column.length, ...rows.map((row) => text(row[column] ?? "").length)),
  );
  const line = (cells: readonly string[]): string =>
    cells.map((cell, i) => cell.padStart(widths[i] ?? 0)).join("  ");
  console.log(line(columns));
  for (const row of rows) console.log(line(columns.map((column) => text(row[column] ?? ""))));
}
