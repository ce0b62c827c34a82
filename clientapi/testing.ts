/** Calls routes over HTTP, as a client does. */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { type Authenticate, createHttp } from "../server/http.ts";
import { silentLog } from "../server/log.ts";
import type { Route } from "../server/route.ts";
import type { JsonObject } from "../spec/shape.ts";

export interface Answer {
  status: number;
  body: JsonObject;
  text: string;
  headers: Headers;
}

export interface TestHttp extends AsyncDisposable {
  readonly url: string;
  /** @param body a value, or text that is sent as it is */
  request(
    method: string,
    path: string,
    body?: unknown,
    token?: string,
    headers?: Record<string, string>,
  ): Promise<Answer>;
}

export async function serveRoutes(
  routes: readonly Route[],
  authenticate: Authenticate,
): Promise<TestHttp> {
  const http = createHttp({
    routes,
    authenticate,
    rateLimits: { takeFor: async () => undefined },
    log: silentLog,
  });
  const server = createServer(http.listener);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    url,
    async request(method, path, body, token, headers) {
      const response = await fetch(url + path, {
        method,
        ...(body === undefined
          ? {}
          : { body: typeof body === "string" ? body : JSON.stringify(body) }),
        headers: {
          "user-agent": "test",
          ...headers,
          ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
        },
        redirect: "manual",
      });
      const text = await response.text();
      const isJson = response.headers.get("content-type")?.startsWith("application/json") === true;
      const parsed = isJson ? (JSON.parse(text) as JsonObject) : {};
      return { status: response.status, body: parsed, text, headers: response.headers };
    },
    async [Symbol.asyncDispose]() {
      http.release("all");
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
