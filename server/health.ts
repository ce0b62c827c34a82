/** Whether the server lives, and whether it can work: for load balancers and watchdogs. */
import { Reply, type Route, route } from "./route.ts";

/** A database that does not answer within this time in ms is away. */
const READY_TIMEOUT_MS = 3_000;

/** What must be there for requests to succeed. */
export interface Dependency {
  name: string;
  /** Rejects where it is away. */
  check(): Promise<unknown>;
}

/**
 * `/health` says that the process lives; `/ready` that its dependencies answer, with 503 where one does
 * not, or where the server is stopping.
 */
export function health(options: {
  dependencies: readonly Dependency[];
  isStopping: () => boolean;
}): Route[] {
  return [
    route({
      method: "GET",
      path: "/health",
      access: "public",
      isProbe: true,
      handle: async () => ({ status: "ok" }),
    }),
    route({
      method: "GET",
      path: "/ready",
      access: "public",
      isProbe: true,
      async handle() {
        if (options.isStopping()) return new Reply({ status: "stopping" }, { status: 503 });
        const checked = await Promise.all(options.dependencies.map(isThere));
        const missing = options.dependencies.filter((_, i) => checked[i] !== true);
        if (missing.length === 0) return { status: "ok" };
        const body = { status: "waiting", missing: missing.map(({ name }) => name) };
        return new Reply(body, { status: 503 });
      },
    }),
  ];
}

async function isThere({ check }: Dependency): Promise<boolean> {
  const { promise: late, resolve } = Promise.withResolvers<false>();
  const timer = setTimeout(() => resolve(false), READY_TIMEOUT_MS);
  try {
    return await Promise.race([
      check().then(
        () => true,
        () => false,
      ),
      late,
    ]);
  } finally {
    clearTimeout(timer);
  }
}
