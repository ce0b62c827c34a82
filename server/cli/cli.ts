/** The command line, `gomin`. */
import { parseArgs, type ParseArgsConfig } from "node:util";
import { MatrixError } from "../../spec/errors.ts";
import { EmbeddedPostgresError } from "../../storage/embedded-postgres.ts";
import { ConfigError, loadConfig, suggest } from "../config/config.ts";
import {
  type Command,
  CommandError,
  type CommandOption,
  type Invocation,
  type OptionValues,
  type Ports,
  type Terminal,
  textOption,
  UsageError,
} from "./command.ts";
import { configCommands } from "./config-commands.ts";
import { doctorCommand } from "./doctor.ts";
import { serveCommand } from "./serve.ts";
import { terminal as ownTerminal } from "./terminal.ts";
import { tokenCommands } from "./tokens.ts";
import { userCommands } from "./users.ts";

export type { Homeserver, Ports } from "./command.ts";

const COMMANDS: readonly Command[] = [
  serveCommand,
  ...configCommands,
  ...userCommands,
  ...tokenCommands,
  doctorCommand,
];

/** Options of every command. */
const COMMON: Readonly<Record<string, CommandOption>> = {
  config: { type: "string", value: "FILE", doc: "The configuration, by default ./gomin.yaml." },
  json: { type: "boolean", doc: "Print the result as JSON, for scripts." },
  verbose: { type: "boolean", doc: "Show where in the program a failure happened." },
  help: { type: "boolean", doc: "Show this." },
};
const SHORT: Readonly<Record<string, string>> = { config: "c", help: "h" };

/**
 * Runs a command.
 *
 * @param args what stands after the program's name
 * @returns the exit code: 0, 1 where it failed, 2 where it was not understood
 */
export async function runCli(
  args: readonly string[],
  ports: Ports,
  terminal: Terminal = ownTerminal,
): Promise<number> {
  let isJson = args.includes("--json");
  try {
    if (args.length === 1 && args[0] === "--version") {
      terminal.out(`${ports.version}\n`);
      return 0;
    }
    const { command, rest } = findCommand(args);
    if (command === undefined) {
      terminal.out(overview(rest));
      return 0;
    }
    const { options, positionals } = readOptions(command, rest);
    if (options["help"] === true) {
      terminal.out(helpOf(command));
      return 0;
    }
    isJson = options["json"] === true;
    checkArguments(command, positionals);
    return (await command.run(invocationOf({ options, args: positionals, ports, terminal }))) ?? 0;
  } catch (error) {
    return report(error, { terminal, isJson, isVerbose: args.includes("--verbose") });
  }
}

/** The longest name that the arguments begin with; none, where they only ask for help. */
function findCommand(args: readonly string[]): { command: Command | undefined; rest: string[] } {
  const plain = args.filter((arg) => !arg.startsWith("-"));
  // The value of an option may stand before the command.
  const words = plain.slice(Math.max(0, plain.findIndex(isFirstWord)));
  const [first, second] = words;
  if (first === undefined || first === "help") {
    const unknown = args.find((arg) => !["--help", "-h", "help", "--json"].includes(arg));
    if (unknown !== undefined && first === undefined)
      throw new UsageError(`${unknown} is no command`);
    const asked = words.slice(1).join(" ");
    const command = COMMANDS.find(({ name }) => name === asked);
    return command === undefined
      ? { command, rest: words.slice(1) }
      : { command, rest: ["--help"] };
  }
  const command =
    COMMANDS.find(({ name }) => name === `${first} ${second}`) ??
    COMMANDS.find(({ name }) => name === first);
  if (command !== undefined) {
    const rest = [...args];
    for (const word of command.name.split(" ")) rest.splice(rest.indexOf(word), 1);
    return { command, rest };
  }
  const group = COMMANDS.filter(({ name }) => name.startsWith(`${first} `));
  if (group.length > 0 && second === undefined) return { command: undefined, rest: [first] };
  const asked = group.length > 0 ? `${first} ${second}` : first;
  const names = COMMANDS.map(({ name }) => name);
  const meant = suggest(asked, [...names, ...names.map((name) => name.split(" ")[0] ?? "")]);
  throw new UsageError(
    `there is no command ${asked}${meant === undefined ? "" : `; did you mean ${meant}?`}`,
  );
}

function isFirstWord(word: string): boolean {
  return word === "help" || COMMANDS.some(({ name }) => name.split(" ")[0] === word);
}

function readOptions(
  command: Command,
  args: string[],
): { options: OptionValues; positionals: string[] } {
  const known = { ...COMMON, ...command.options };
  const options: NonNullable<ParseArgsConfig["options"]> = {};
  for (const [name, { type }] of Object.entries(known)) {
    const short = SHORT[name];
    options[name] = short === undefined ? { type } : { type, short };
  }
  try {
    const { values, positionals } = parseArgs({ args, options, allowPositionals: true });
    // No option may be repeated, so that none is a list.
    return { options: values as OptionValues, positionals };
  } catch (error) {
    const name =
      /--?([\w-]{2,}|\w(?!\w*,))/.exec(error instanceof Error ? error.message : "")?.[1] ?? "";
    if (Object.hasOwn(known, name))
      throw new UsageError(`--${name}: ${known[name]?.value ?? "no value"} expected`);
    const meant = suggest(name, Object.keys(known));
    const hint = meant === undefined ? "" : `; did you mean --${meant}?`;
    throw new UsageError(`${command.name} has no option --${name}${hint}`, { cause: error });
  }
}

function checkArguments(
  { name, usage = "", args = { min: 0, max: 0 } }: Command,
  given: string[],
): void {
  if (given.length < args.min) throw new UsageError(`${usage} is missing: gomin ${name} ${usage}`);
  if (given.length > args.max) {
    throw new UsageError(`${given.slice(args.max).join(" ")} is too much: gomin ${name} ${usage}`);
  }
}

function invocationOf(
  given: Pick<Invocation, "options" | "args" | "ports" | "terminal">,
): Invocation {
  const { options, terminal } = given;
  const isJson = options["json"] === true;
  let loaded: ReturnType<typeof loadConfig> | undefined;
  return {
    ...given,
    loadConfig() {
      if (loaded !== undefined) return loaded;
      const file = textOption(options, "config");
      loaded = loadConfig({ file, cwd: terminal.cwd, env: terminal.env });
      for (const warning of loaded.warnings) terminal.err(`warning: ${warning}\n`);
      return loaded;
    },
    progress: (message) => terminal.err(`${message}\n`),
    result: (value, text) => terminal.out(`${isJson ? JSON.stringify(value) : text}\n`),
  };
}

/** Tells what went wrong: in a sentence where it is the user's to mend, with a stack where it is ours. */
function report(
  error: unknown,
  { terminal, isJson, isVerbose }: { terminal: Terminal; isJson: boolean; isVerbose: boolean },
): number {
  const message = error instanceof Error ? error.message : String(error);
  const isExpected = [
    UsageError,
    CommandError,
    ConfigError,
    MatrixError,
    EmbeddedPostgresError,
  ].some((type) => error instanceof type);
  if (isJson) {
    const problems = error instanceof ConfigError ? { problems: error.problems } : {};
    terminal.out(`${JSON.stringify({ ok: false, error: message, ...problems })}\n`);
  }
  if (!isJson || isVerbose) {
    terminal.err(`gomin: ${message}\n`);
    if (error instanceof UsageError) terminal.err("Try: gomin --help\n");
    if (isVerbose) terminal.err(`${stackOf(error)}\n`);
    else if (!isExpected) terminal.err("Where it happened is shown by --verbose.\n");
  }
  return error instanceof UsageError ? 2 : 1;
}

function stackOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const cause = error.cause === undefined ? "" : `\ncaused by ${stackOf(error.cause)}`;
  return `${error.stack}${cause}`;
}

function overview([group]: readonly string[]): string {
  const commands = COMMANDS.filter(
    ({ name }) => group === undefined || name.startsWith(`${group} `),
  );
  const width = Math.max(...commands.map((command) => heading(command).length)) + 2;
  const lines = commands.map((command) => `  ${heading(command).padEnd(width)}${command.summary}`);
  return `${[
    "Gomin, a Matrix homeserver.",
    "",
    "Usage: gomin COMMAND [OPTIONS]",
    "",
    ...lines,
    "",
    "To begin: gomin serve, then gomin user create NAME --admin.",
    "More on a command: gomin COMMAND --help.",
  ].join("\n")}\n`;
}

function helpOf(command: Command): string {
  const options = { ...command.options, ...COMMON };
  const rows = Object.entries(options).map(([name, { value, doc }]) => {
    const short = SHORT[name];
    const left = `${short === undefined ? "" : `-${short}, `}--${name}${value === undefined ? "" : ` ${value}`}`;
    return [left, doc] as const;
  });
  const width = Math.max(...rows.map(([left]) => left.length)) + 2;
  return `${[
    `${command.summary}.`,
    ...(command.details === undefined ? [] : ["", command.details]),
    "",
    `Usage: gomin ${heading(command)} [OPTIONS]`,
    "",
    ...rows.map(([left, doc]) => `  ${left.padEnd(width)}${doc}`),
  ].join("\n")}\n`;
}

function heading({ name, usage }: Command): string {
  return usage === undefined ? name : `${name} ${usage}`;
}
