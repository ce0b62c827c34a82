/**
 * The bus over NATS: the one file that knows its package.
 *
 * What a process sends reaches its own subscribers directly. While NATS is away nothing is queued:
 * the others are told on return that they may have missed something, and look for themselves.
 */
import { createHash } from "node:crypto";
import { connect, type ConnectionOptions, Events, type NatsConnection } from "nats";
import type { Log } from "../log.ts";
import { type Bus, MAX_MESSAGE_BYTES, readRange, type StreamRange, writeRange } from "./bus.ts";
import { InProcessBus } from "./in-process-bus.ts";

const CONNECT_TIMEOUT_MS = 5_000;
const RECONNECT_WAIT_MS = 500;
/** After two pings without an answer the connection counts as lost. */
const PING_INTERVAL_MS = 5_000;

const encoder = new TextEncoder();
const decoder = new TextDecoder();

export interface NatsBusOptions {
  /** `nats://user:password@host:port`, or `tls:`. */
  url: string;
  /** Keeps homeservers apart that share one NATS. */
  serverName: string;
  log: Log;
}

/** @throws Error if NATS cannot be reached */
export async function connectNatsBus(options: NatsBusOptions): Promise<NatsBus> {
  try {
    const connection = await connect(connectionOptions(options.url));
    return new NatsBus(connection, options);
  } catch (cause) {
    const { host } = new URL(options.url);
    throw new Error(`nats.url: cannot connect to NATS at ${host}`, { cause });
  }
}

export class NatsBus implements Bus {
  readonly #connection: NatsConnection;
  readonly #log: Log;
  readonly #prefix: string;
  readonly #local: InProcessBus;
  /** How many listen to each topic. */
  readonly #topics = new Map<string, { count: number; stop: () => void }>();
  #isConnected = true;

  constructor(connection: NatsConnection, { serverName, log }: Omit<NatsBusOptions, "url">) {
    this.#connection = connection;
    this.#log = log;
    this.#prefix = subjectPrefix(serverName);
    this.#local = new InProcessBus((error) => log.error({ err: error }, "a subscriber failed"));
    this.#receive("stream", (message) => {
      const range = readRange(message);
      if (range !== undefined) this.#local.publish(range);
    });
    this.#receive("gap", () => this.#local.publishGap());
    // Never ends, not even when the connection does.
    void this.#watch();
  }

  publish(range: StreamRange): void {
    this.#local.publish(range);
    this.#emit("stream", writeRange(range));
  }

  subscribe(onRange: (range: StreamRange | undefined) => void): () => void {
    return this.#local.subscribe(onRange);
  }

  send(topic: string, message: string): void {
    this.#local.send(topic, message);
    if (Buffer.byteLength(message) > MAX_MESSAGE_BYTES) {
      this.#log.error({ topic }, "a message is too large for the bus");
      return;
    }
    this.#emit(`topic.${subjectToken(topic)}`, message);
  }

  listen(topic: string, onMessage: (message: string) => void): () => void {
    const end = this.#local.listen(topic, onMessage);
    const held = this.#topics.get(topic);
    if (held !== undefined) held.count += 1;
    else {
      const stop = this.#receive(`topic.${subjectToken(topic)}`, (message) =>
        this.#local.send(topic, message),
      );
      this.#topics.set(topic, { count: 1, stop });
    }
    let isEnded = false;
    return () => {
      if (isEnded) return;
      isEnded = true;
      end();
      const now = this.#topics.get(topic);
      if (now === undefined) return;
      now.count -= 1;
      if (now.count > 0) return;
      now.stop();
      this.#topics.delete(topic);
    };
  }

  /** Whether NATS is there now. */
  get isConnected(): boolean {
    return this.#isConnected;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // Sends what is still in its buffer, if it can.
    if (this.#isConnected) await this.#connection.drain().catch(() => undefined);
    await this.#connection.close();
    await this.#local[Symbol.asyncDispose]();
  }

  #emit(subject: string, message: string): void {
    if (!this.#isConnected) return;
    try {
      this.#connection.publish(`${this.#prefix}.${subject}`, encoder.encode(message));
    } catch (error) {
      this.#log.warn({ err: error }, "could not publish on NATS");
    }
  }

  /** @returns ends it */
  #receive(subject: string, onMessage: (message: string) => void): () => void {
    const subscription = this.#connection.subscribe(`${this.#prefix}.${subject}`, {
      callback: (error, message) => {
        if (error !== null) return this.#log.warn({ err: error }, "could not read from NATS");
        if (message.data.byteLength <= MAX_MESSAGE_BYTES) onMessage(decoder.decode(message.data));
      },
    });
    return () => {
      if (!this.#connection.isClosed()) subscription.unsubscribe();
    };
  }

  async #watch(): Promise<void> {
    for await (const { type } of this.#connection.status()) {
      if (type === Events.Disconnect) {
        if (this.#isConnected) this.#log.warn("NATS is away; news reach other processes late");
        this.#isConnected = false;
      } else if (type === Events.Reconnect) {
        this.#log.info("NATS is back");
        this.#isConnected = true;
        this.#local.publishGap();
        this.#emit("gap", "");
      }
    }
  }
}

function connectionOptions(text: string): ConnectionOptions {
  const url = new URL(text);
  const user = decodeURIComponent(url.username);
  const pass = decodeURIComponent(url.password);
  return {
    servers: url.port === "" ? `${url.hostname}:4222` : url.host,
    name: "gomin",
    noEcho: true,
    timeout: CONNECT_TIMEOUT_MS,
    maxReconnectAttempts: -1,
    reconnectTimeWait: RECONNECT_WAIT_MS,
    pingInterval: PING_INTERVAL_MS,
    ...(url.protocol === "tls:" ? { tls: {} } : {}),
    ...(user === "" ? {} : pass === "" ? { token: user } : { user, pass }),
  };
}

/** A subject's token may not hold dots, spaces or wildcards; the hash keeps apart what then looks alike. */
function subjectToken(name: string): string {
  return /^[A-Za-z0-9_-]+$/.test(name)
    ? name
    : `${name.replaceAll(/[^A-Za-z0-9_-]/g, "_").slice(0, 100)}-${hash(name)}`;
}

function subjectPrefix(serverName: string): string {
  return `gomin.${subjectToken(serverName)}`;
}

function hash(text: string): string {
  return createHash("sha256").update(text).digest("hex").slice(0, 12);
}
