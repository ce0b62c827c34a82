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
  { level = "info", format = "json" }: { level?: LogLevel; format?: "auto" | "json" | "text" } = {},
  destination?: DestinationStream,
): Log {
  const isText = format === "text" || (format === "auto" && process.stdout.isTTY);
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
    isText ? textTo(destination ?? process.stdout) : (destination ?? batched()),
  );
}

function batched(): DestinationStream {
  return pino.destination({ fd: 1, sync: false, minLength: 4096, periodicFlush: 500 });
}

/** Lines for people. */
function textTo(destination: { write(text: string): unknown }): DestinationStream {
  return { write: (line) => void destination.write(`${describeLine(line)}\n`) };
}

function describeLine(json: string): string {
  // A line of pino's.
  const line = JSON.parse(json) as Record<string, unknown> & { level: string; time: string };
  const { level, time, pid: _pid, msg = "", err, traceId, ...fields } = line;
  const mark = level === "info" ? "" : `${level}: `;
  const shown = level === "error" && traceId !== undefined ? { ...fields, traceId } : fields;
  const words = Object.entries(shown).map(([name, value]) => `${name}=${describeValue(value)}`);
  const text = [time.slice(11, 19), `${mark}${String(msg)}`, ...words].join(" ");
  return `${text}${describeStacks(err)}`.replaceAll(CONTROL, escapeControl);
}

/** Characters by which a terminal can be made to do things; lines end where we end them. */
// oxlint-disable-next-line no-control-regex -- it is about them
const CONTROL = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/g;

function escapeControl(character: string): string {
  return `\\x${character.charCodeAt(0).toString(16).padStart(2, "0")}`;
}

function describeValue(value: unknown): string {
  return typeof value === "string" && /^[^\s"=]+$/.test(value) ? value : JSON.stringify(value);
}

function describeStacks(err: unknown): string {
  // What `describeError` gave.
  const { causes = [], ...first } = (err ?? {}) as Described & { causes?: Described[] };
  const stacks = [first, ...causes].map(({ stack, message }) => stack ?? message);
  return stacks.map((stack) => (stack === undefined ? "" : `\n  ${stack}`)).join("");
}

interface Described {
  stack?: string;
  message?: string;
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
