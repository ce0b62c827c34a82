/**
 * The log: lines of JSON. The one file that knows pino.
 *
 * No token, key, password, query string or message body is ever logged; identifiers stand in
 * fields of their own. `warn` is for what an operator should act on.
 */
import { AsyncLocalStorage } from "node:async_hooks";
import { type Logger, pino, type DestinationStream } from "pino";

export type Log = Logger;
export type LogLevel = "trace" | "debug" | "info" | "warn" | "error" | "silent";

/** What is known of the request that the current code works for. */
interface RequestNote {
  traceId: string;
  fields: Record<string, unknown> | undefined;
}

const requests = new AsyncLocalStorage<RequestNote>();

const NOTHING = {};

/** Deepest chain of causes that is logged; a longer one is a cycle. */
const MAX_CAUSES = 10;

/**
 * @param destination where lines go; standard output by default, written in batches
 */
export function createLog(
  { level = "info" }: { level?: LogLevel } = {},
  destination: DestinationStream = pino.destination({
    fd: 1,
    sync: false,
    minLength: 4096,
    periodicFlush: 500,
  }),
): Log {
  return pino(
    {
      level,
      base: { pid: process.pid },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      serializers: { err: describeError },
      mixin: () => {
        const traceId = requests.getStore()?.traceId;
        return traceId === undefined ? NOTHING : { traceId };
      },
      mixinMergeStrategy: (line, mixed) => (mixed === NOTHING ? line : { ...mixed, ...line }),
    },
    destination,
  );
}

/** A log that says nothing, for tests. */
export const silentLog: Log = pino({ level: "silent" });

/** Runs what answers a request; every line logged meanwhile bears its trace id. */
export function withRequest<T>(note: RequestNote, run: () => T): T {
  return requests.run(note, run);
}

/** Adds fields to the one line that is logged for the current request. Nothing secret. */
export function noteRequest(fields: Record<string, unknown>): void {
  const note = requests.getStore();
  if (note !== undefined) note.fields = { ...note.fields, ...fields };
}

/** The trace id of the request that the current code works for. */
export function currentTraceId(): string | undefined {
  return requests.getStore()?.traceId;
}

/**
 * An error with all its causes, as far as a log may hold it.
 *
 * Further members are left out: PostgreSQL quotes the row that failed in them.
 */
export function describeError(error: unknown): Record<string, unknown> {
  const causes: Record<string, unknown>[] = [];
  let at: unknown = error;
  while (at !== undefined && at !== null && causes.length < MAX_CAUSES) {
    if (!(at instanceof Error)) {
      causes.push({ type: typeof at });
      break;
    }
    const code: unknown = Reflect.get(at, "code") ?? Reflect.get(at, "errcode");
    causes.push({
      type: at.name,
      message: at.message,
      ...(typeof code === "string" ? { code } : {}),
      stack: at.stack,
    });
    at = at.cause;
  }
  const [first, ...rest] = causes;
  return { ...first, ...(rest.length === 0 ? {} : { causes: rest }) };
}
