/** A server with 200 routes, of one of several kinds, for `http.ts`. */
import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import Router from "@koa/router";
import Koa from "koa";
import { object, string } from "../spec/shape.ts";
import { createHttp } from "../server/http.ts";
import { createLog, silentLog } from "../server/log.ts";
import { type Route, route } from "../server/route.ts";
import type { Kind } from "./http.ts";

const GROUPS = [
  "rooms/:roomId",
  "user/:userId",
  "profile/:userId",
  "keys",
  "devices",
  "room_keys",
  "pushrules/:scope",
  "directory",
  "account",
  "admin",
];
const PATHS = GROUPS.flatMap((group) =>
  Array.from({ length: 20 }, (_, i) => `/_matrix/client/v3/${group}/op${i}/:x`),
);
const ANSWER = { ok: true };

const kind = process.argv[2] as Kind;
const listeners: Record<Kind, () => RequestListener> = {
  koa: bare,
  one: oneRouter,
  small: smallRouters,
  ours: () => ours(createLog()),
  quiet: () => ours(silentLog),
};

const server = createServer(listeners[kind]());
server.listen(0, "127.0.0.1", () => process.send?.((server.address() as AddressInfo).port));
process.on("message", () => {
  const { user, system } = process.cpuUsage();
  process.send?.(user + system);
});

function listenerOf(app: Koa): RequestListener {
  const callback = app.callback();
  return (request, response) => void callback(request, response);
}

function bare(): RequestListener {
  const app = new Koa();
  app.use(async (context) => {
    context.body = ANSWER;
  });
  return listenerOf(app);
}

function routerOf(paths: readonly string[]): Router {
  const router = new Router();
  for (const path of paths) {
    router.get(path, async (context) => {
      context.body = ANSWER;
    });
  }
  return router;
}

function oneRouter(): RequestListener {
  const app = new Koa();
  app.use(routerOf(PATHS).routes());
  return listenerOf(app);
}

/** One for each path prefix, chosen by a map. */
function smallRouters(): RequestListener {
  const app = new Koa();
  const prefixOf = (path: string): string => path.split("/")[4] ?? "";
  const groups = Map.groupBy(PATHS, prefixOf);
  const routers = new Map([...groups].map(([prefix, paths]) => [prefix, routerOf(paths).routes()]));
  // A router's own middleware is typed for contexts that it has already touched.
  type Middleware = (context: Koa.Context, next: Koa.Next) => Promise<unknown> | undefined;
  app.use((context, next) => (routers.get(prefixOf(context.path)) as Middleware)(context, next));
  return listenerOf(app);
}

function ours(log: typeof silentLog): RequestListener {
  const routes: Route[] = PATHS.map((path) =>
    route({
      method: "GET",
      path,
      access: "user",
      params: object({ x: string }),
      handle: async () => ANSWER,
    }),
  );
  const caller = {
    userId: "@alice:a",
    tokenId: 1,
    isAdmin: false,
    isGuest: false,
    isSuspended: false,
  } as const;
  return createHttp({
    routes,
    authenticate: async () => caller,
    rateLimits: { takeFor: async () => undefined },
    log,
  }).listener;
}
