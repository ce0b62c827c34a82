/** What a command of `gomin` is, and what it may use. */
import type { ParseArgsConfig } from "node:util";
import type { Accounts, RegistrationTokens } from "../accounts/accounts.ts";
import type { Config, LoadedConfig } from "../config/config.ts";
import type { Log } from "../log.ts";
import type { Resource } from "../listeners.ts";

/** A homeserver as commands see it. */
export interface Homeserver extends AsyncDisposable {
  readonly listeners: readonly { url: string; resources: readonly Resource[] }[];
  readonly accounts: Pick<
    Accounts,
    "create" | "list" | "get" | "setPassword" | "setRights" | "deactivate"
  >;
  readonly registrationTokens: Pick<RegistrationTokens, "create" | "list" | "remove">;
}

/** What the command line is given by whoever puts the parts together. */
export interface Ports {
  version: string;
  /** Starts a homeserver; one whose configuration has no listeners serves this process only. */
  startHomeserver(options: { config: Config; log: Log }): Promise<Homeserver>;
}

/** The terminal, or what stands for it in a test. */
export interface Terminal {
  env: Readonly<Record<string, string | undefined>>;
  cwd: string;
  out(text: string): void;
  err(text: string): void;
  /** Whether a person can be asked. */
  isInteractive: boolean;
  /** Asks for a line; what is typed is not shown where it is secret. */
  ask(question: string, options?: { isSecret?: boolean }): Promise<string>;
  /** All of standard input. */
  readInput(): Promise<string>;
}

export type OptionValues = Readonly<Record<string, string | boolean | undefined>>;

export interface Invocation {
  terminal: Terminal;
  ports: Ports;
  options: OptionValues;
  /** What stands after the command's name. */
  args: readonly string[];
  /** Reads the configuration that the options name, and tells of its oddities. */
  loadConfig(): LoadedConfig;
  /** Tells of what takes long. */
  progress(message: string): void;
  /** Writes the result: for scripts as JSON, where that is asked for, else for people. */
  result(value: unknown, text: string): void;
}

export interface Command {
  /** As in `user create`. */
  name: string;
  /** What stands after the name, for the help. */
  usage?: string;
  /** One line. */
  summary: string;
  /** More, for the command's own help. */
  details?: string;
  options?: Readonly<Record<string, CommandOption>>;
  /** How many arguments it takes. */
  args?: { min: number; max: number };
  /** @returns the exit code, 0 where none is given */
  run(invocation: Invocation): Promise<number | void>;
}

export interface CommandOption {
  type: NonNullable<ParseArgsConfig["options"]>[string]["type"];
  /** What the value is called in the help. */
  value?: string;
  doc: string;
}

/** Something that the user did wrong: told in one sentence, exit code 2. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/** Something that cannot be done: told in one sentence, exit code 1. */
export class CommandError extends Error {
  override readonly name = "CommandError";
}

export function textOption(options: OptionValues, name: string): string | undefined {
  const value = options[name];
  return typeof value === "string" ? value : undefined;
}
