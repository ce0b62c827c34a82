/**
 * Turns on traces and metrics: the one file that knows the OpenTelemetry SDK, which it loads only where
 * the configuration wants it.
 */
import { monitorEventLoopDelay } from "node:perf_hooks";
import { metrics, trace } from "@opentelemetry/api";
import type { Config } from "./config/config.ts";
import { gauge, useMeter, useTracer } from "./instruments.ts";
import { Reply, type Route, route } from "./route.ts";

export interface Telemetry extends AsyncDisposable {
  /** `/metrics`, where a listener serves metrics. */
  readonly routes: readonly Route[];
}

export interface TelemetryOptions {
  otel: Config["otel"];
  /** Whether a listener serves metrics. */
  hasMetrics: boolean;
  version: string;
}

/** To be called before anything is measured. */
export async function startTelemetry(options: TelemetryOptions): Promise<Telemetry> {
  await using stack = new AsyncDisposableStack();
  if (options.otel.endpoint !== undefined) {
    stack.defer(await startTraces(options.otel, options.otel.endpoint));
  }
  const routes = options.hasMetrics ? [await startMetrics(stack, options)] : [];
  const owned = stack.move();
  return { routes, [Symbol.asyncDispose]: () => owned[Symbol.asyncDispose]() };
}

/** @returns sends what is left, and stops */
async function startTraces(otel: Config["otel"], endpoint: string): Promise<() => Promise<void>> {
  // The exporter is the SDK's own, which takes its settings from the environment only.
  Object.assign(process.env, {
    OTEL_TRACES_EXPORTER: "otlp",
    OTEL_EXPORTER_OTLP_TRACES_PROTOCOL: "http/protobuf",
    OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: endpoint,
    OTEL_TRACES_SAMPLER: "traceidratio",
    OTEL_TRACES_SAMPLER_ARG: String(otel.sample_ratio),
    OTEL_METRICS_EXPORTER: "none",
    OTEL_LOGS_EXPORTER: "none",
  });
  const { NodeSDK } = await import("@opentelemetry/sdk-node");
  const sdk = new NodeSDK({
    serviceName: otel.service_name,
    autoDetectResources: false,
    instrumentations: [],
  });
  sdk.start();
  useTracer(trace.getTracer("gomin"));
  return async () => {
    useTracer(undefined);
    // A collector that is away must not keep the server from stopping.
    await sdk.shutdown().catch(() => undefined);
  };
}

async function startMetrics(
  stack: AsyncDisposableStack,
  { version }: TelemetryOptions,
): Promise<Route> {
  const { PrometheusExporter, PrometheusSerializer } =
    await import("@opentelemetry/exporter-prometheus");
  const { MeterProvider } = await import("@opentelemetry/sdk-metrics");
  const exporter = new PrometheusExporter({
    preventServerStart: true,
    withoutScopeInfo: true,
    withoutTargetInfo: true,
  });
  const provider = new MeterProvider({ readers: [exporter] });
  stack.defer(() => provider.shutdown());
  metrics.setGlobalMeterProvider(provider);
  useMeter(provider.getMeter("gomin", version));
  stack.defer(watchProcess());
  const serializer = new PrometheusSerializer(undefined, false, undefined, true, true);
  return route({
    method: "GET",
    path: "/metrics",
    access: "public",
    isProbe: true,
    async handle() {
      const { resourceMetrics } = await exporter.collect();
      return new Reply(Buffer.from(serializer.serialize(resourceMetrics)), {
        headers: { "content-type": "text/plain; version=0.0.4; charset=utf-8" },
      });
    },
  });
}

/** What a Node process is judged by. */
function watchProcess(): () => void {
  const delay = monitorEventLoopDelay({ resolution: 20 });
  delay.enable();
  const seconds = { unit: "s" };
  const bytes = { unit: "By" };
  gauge("process.resident_memory.bytes", { ...bytes, description: "Resident memory." }, () =>
    process.memoryUsage.rss(),
  );
  gauge("nodejs.heap_used.bytes", { ...bytes, description: "Used heap." }, () => {
    return process.memoryUsage().heapUsed;
  });
  gauge(
    "process.cpu.seconds",
    { ...seconds, description: "CPU time used since the start." },
    () => {
      const { user, system } = process.cpuUsage();
      return (user + system) / 1e6;
    },
  );
  gauge("process.uptime.seconds", { ...seconds, description: "Time since the start." }, () =>
    process.uptime(),
  );
  gauge(
    "nodejs.eventloop_delay.p99.seconds",
    { ...seconds, description: "Delay of the event loop since the last reading, 99th percentile." },
    () => {
      const p99 = delay.percentile(99) / 1e9;
      delay.reset();
      return Number.isFinite(p99) ? p99 : 0;
    },
  );
  return () => delay.disable();
}
