/** `gomin serve`: runs the homeserver until it is told to stop. */
import { findElsewhere } from "../../storage/embedded-postgres.ts";
import { type Config, publicBaseUrl } from "../config/config.ts";
import { createLog, type Log } from "../log.ts";
import type { Command, Homeserver, Invocation } from "./command.ts";

/** Time in ms after which a stop that is not done is given up. */
const STOP_TIMEOUT_MS = 20_000;

export const serveCommand: Command = {
  name: "serve",
  summary: "Run the homeserver",
  details:
    "Without a configuration it serves localhost on port 8008, with a database of its own in ./data.",
  run: serve,
};

async function serve(invocation: Invocation): Promise<number> {
  const { config, file } = invocation.loadConfig();
  const log = createLog({ level: config.log.level, format: config.log.format });
  using stopRequest = new StopRequest();
  invocation.progress(`Starting Gomin ${invocation.ports.version} for ${config.server_name}`);
  const homeserver = await invocation.ports.startHomeserver({ config, log });
  watchForBugs(log);
  invocation.progress(await banner(homeserver, config, file));
  const why = await stopRequest.came;
  invocation.progress("Stopping; once more to stop at once");
  log.info({ signal: why }, "stopping");
  const giveUp = setTimeout(() => {
    log.error("it did not stop in time");
    log.flush();
    process.exit(1);
  }, STOP_TIMEOUT_MS);
  await homeserver[Symbol.asyncDispose]();
  clearTimeout(giveUp);
  log.info("stopped");
  log.flush();
  return 0;
}

/** A signal, or the end of the program that started us. A second signal ends us at once. */
class StopRequest implements Disposable {
  readonly came: Promise<string>;
  readonly #signals = ["SIGTERM", "SIGINT", "SIGHUP"] as const;
  readonly #tell: (why: string) => void;
  readonly #tellOfEnd: () => void;

  constructor() {
    const { promise, resolve } = Promise.withResolvers<string>();
    let isTold = false;
    this.came = promise;
    this.#tell = (why) => {
      if (isTold) process.exit(130);
      isTold = true;
      // While it is listened to, the channel keeps the process alive.
      process.off("disconnect", this.#tellOfEnd);
      resolve(why);
    };
    this.#tellOfEnd = () => this.#tell("disconnect");
    for (const signal of this.#signals) process.on(signal, this.#tell);
    // bin/gomin.js holds the other end, which the system closes even when it is killed.
    if (process.connected) process.once("disconnect", this.#tellOfEnd);
  }

  [Symbol.dispose](): void {
    for (const signal of this.#signals) process.off(signal, this.#tell);
    process.off("disconnect", this.#tellOfEnd);
  }
}

/** A promise that nobody awaited harms one request; an exception that nobody caught may harm all. */
function watchForBugs(log: Log): void {
  process.on("unhandledRejection", (error) => log.error({ err: error }, "unhandled rejection"));
  process.on("uncaughtException", (error) => {
    log.fatal({ err: error }, "uncaught exception");
    log.flush();
    process.exit(1);
  });
}

/** Where it is, where its data are, and what to do next. */
async function banner(
  homeserver: Homeserver,
  config: Config,
  file: string | undefined,
): Promise<string> {
  const elsewhere = config.database.url === undefined ? findElsewhere(config.data_dir) : undefined;
  const clients = homeserver.listeners.filter(({ resources }) => resources.includes("client"));
  return [
    "",
    `  Gomin is running for ${config.server_name}`,
    "",
    `  Address        ${publicBaseUrl(config).replace(/\/$/, "")}`,
    `  Listening on   ${homeserver.listeners.map(({ url }) => url).join(", ")}`,
    `  Data           ${config.data_dir}`,
    ...(elsewhere === undefined ? [] : [`  Database       ${elsewhere}`]),
    `  Configuration  ${file ?? "the defaults; gomin init writes a file to change them"}`,
    ...(clients.length === 0 ? [] : await firstSteps(homeserver, config)),
    "",
  ].join("\n");
}

/** How to make the first account, while there is none. */
async function firstSteps(homeserver: Homeserver, config: Config): Promise<string[]> {
  const { done: isEmpty = false } = await homeserver.accounts.list()[Symbol.asyncIterator]().next();
  if (!isEmpty) return [];
  const command = "    npx gomin user create NAME --admin";
  const steps = ["", "  There are no accounts yet. Make the first one with", "", command];
  if (!config.enable_registration || !config.registration_requires_token) return steps;
  const token = await usableToken(homeserver);
  return [
    ...steps,
    "",
    "  or by “create account” in a Matrix client, with the registration token",
    "",
    `    ${token}`,
  ];
}

/** A token that is good now: the one of an earlier start, or a new one. */
async function usableToken({ registrationTokens }: Homeserver): Promise<string> {
  const now = Date.now();
  const usable = (await registrationTokens.list()).find(
    ({ uses_allowed, completed, expires_ts }) =>
      (uses_allowed === null || completed < uses_allowed) &&
      (expires_ts === null || expires_ts > now),
  );
  return usable?.token ?? registrationTokens.create();
}
