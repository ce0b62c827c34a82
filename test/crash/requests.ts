/** Requests of a client that does not give up: it repeats them until the server answers. */
import { type Agent, request } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";

export interface Sender {
  baseUrl: string;
  token?: string;
  agent?: Agent;
}

interface Answer {
  status: number;
  body: Record<string, unknown>;
}

/** How long a server may be away, in ms. */
const PATIENCE_MS = 240_000;
const REQUEST_TIMEOUT_MS = 20_000;

/**
 * Sends a request, again after a lost connection and after a 5xx.
 *
 * @throws Error for a 4xx, which no repetition would mend
 */
export async function send(
  sender: Sender,
  method: string,
  path: string,
  body?: unknown,
): Promise<Answer> {
  const until = performance.now() + PATIENCE_MS;
  for (;;) {
    const answer = await attempt(sender, method, path, body).catch((error: unknown) => error);
    if (isAnswer(answer)) {
      if (answer.status === 200) return answer;
      if (answer.status < 500) throw new Error(`${method} ${path}: ${JSON.stringify(answer)}`);
    }
    if (performance.now() > until) throw new Error(`${method} ${path}`, { cause: answer });
    await sleep(20);
  }
}

function isAnswer(value: unknown): value is Answer {
  return typeof value === "object" && value !== null && "status" in value && "body" in value;
}

function attempt(
  { baseUrl, token, agent }: Sender,
  method: string,
  path: string,
  body: unknown,
): Promise<Answer> {
  const payload = body === undefined ? undefined : Buffer.from(JSON.stringify(body));
  return new Promise((resolve, reject) => {
    const call = request(
      baseUrl + path,
      {
        method,
        ...(agent === undefined ? {} : { agent }),
        timeout: REQUEST_TIMEOUT_MS,
        headers: {
          ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
          ...(payload === undefined ? {} : { "content-length": payload.length }),
        },
      },
      (response) => {
        const parts: Buffer[] = [];
        response.on("data", (part: Buffer) => parts.push(part));
        response.on("error", reject);
        response.on("aborted", () => reject(new Error("the answer was cut off")));
        response.on("end", () => {
          const status = response.statusCode ?? 0;
          const text = Buffer.concat(parts).toString();
          // What is no JSON is no answer of ours, and is asked for again.
          resolve({ status: text.startsWith("{") ? status : 599, body: parse(text) });
        });
      },
    );
    call.on("timeout", () => call.destroy(new Error("no answer in time")));
    call.on("error", reject);
    call.end(payload);
  });
}

function parse(text: string): Record<string, unknown> {
  return text.startsWith("{") ? (JSON.parse(text) as Record<string, unknown>) : {};
}
