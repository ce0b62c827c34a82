/**
 * Metrics and spans for all code. It knows the OpenTelemetry API only.
 *
 * Until `telemetry.ts` turns it on, an instrument is a call that returns at once. Labels of metrics
 * have few values; identifiers go to spans.
 */
import {
  type Attributes,
  type Meter,
  type Span,
  SpanStatusCode,
  type Tracer,
} from "@opentelemetry/api";

export interface Histogram {
  record(value: number, labels?: Attributes): void;
}

interface Description {
  /** What is counted, in a sentence. */
  description: string;
  /** As in UCUM: `s`, `By`, `{request}`. */
  unit?: string;
}

let meter: Meter | undefined;
let tracer: Tracer | undefined;
/** Made before there was a meter. */
const waiting: ((meter: Meter) => void)[] = [];

/**
 * How values are spread; `buckets` are upper bounds, in the unit.
 *
 * @param name ends with its unit in words, as Prometheus has it: `gomin.stream.commit.seconds`
 */
export function histogram(
  name: string,
  { buckets, ...description }: Description & { buckets?: readonly number[] },
): Histogram {
  let inner: Histogram | undefined;
  const advice =
    buckets === undefined ? {} : { advice: { explicitBucketBoundaries: [...buckets] } };
  whenMetered((by) => (inner = by.createHistogram(name, { ...description, ...advice })));
  return { record: (value, labels) => inner?.record(value, labels) };
}

/** A value of the moment, asked for when metrics are read. */
export function gauge(name: string, description: Description, read: () => number): void {
  whenMetered((by) => {
    by.createObservableGauge(name, description).addCallback((result) => result.observe(read()));
  });
}

/** Whether spans are recorded: what only they need can else be left out. */
export function isTracing(): boolean {
  return tracer !== undefined;
}

/** Runs something as a span of the current trace; without tracing, just runs it. */
export async function withSpan<T>(
  name: string,
  attributes: Attributes,
  run: (span: Span | undefined) => Promise<T>,
): Promise<T> {
  if (tracer === undefined) return run(undefined);
  return tracer.startActiveSpan(name, { attributes }, async (span) => {
    try {
      return await run(span);
    } catch (error) {
      span.setStatus({ code: SpanStatusCode.ERROR });
      throw error;
    } finally {
      span.end();
    }
  });
}

/** Turns metrics on; for `telemetry.ts`. */
export function useMeter(by: Meter): void {
  meter = by;
  for (const make of waiting.splice(0)) make(by);
}

/** Turns spans on, or off; for `telemetry.ts`. */
export function useTracer(by: Tracer | undefined): void {
  tracer = by;
}

function whenMetered(make: (meter: Meter) => void): void {
  if (meter === undefined) waiting.push(make);
  else make(meter);
}
