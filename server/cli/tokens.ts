/** `gomin token …`: registration tokens. */
import { type Command, CommandError, textOption, UsageError } from "./command.ts";
import { withHomeserver } from "./engine.ts";

const UNITS_MS = { m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 } as const;

export const tokenCommands: readonly Command[] = [
  {
    name: "token create",
    summary: "Make a registration token, with which people make accounts",
    options: {
      token: { type: "string", value: "TOKEN", doc: "The token itself, by default a random one." },
      uses: {
        type: "string",
        value: "N",
        doc: "How many accounts it is good for, by default any number.",
      },
      expires: {
        type: "string",
        value: "TIME",
        doc: "How long it is good, such as 12h or 7d; by default for ever.",
      },
    },
    async run(invocation) {
      const { options } = invocation;
      const usesAllowed = readUses(textOption(options, "uses"));
      const expiresTs = readExpiry(textOption(options, "expires"), Date.now());
      const token = await withHomeserver(invocation, ({ registrationTokens }) =>
        registrationTokens.create({ token: textOption(options, "token"), usesAllowed, expiresTs }),
      );
      const value = { token, uses_allowed: usesAllowed ?? null, expires_ts: expiresTs ?? null };
      invocation.result(value, token);
    },
  },
  {
    name: "token list",
    summary: "List the registration tokens",
    async run(invocation) {
      const tokens = await withHomeserver(invocation, ({ registrationTokens }) =>
        registrationTokens.list(),
      );
      const lines = tokens.map(({ token, uses_allowed, completed, expires_ts }) => {
        const uses = `used ${completed}${uses_allowed === null ? "" : ` of ${uses_allowed}`}`;
        const until =
          expires_ts === null ? "for ever" : `until ${new Date(expires_ts).toISOString()}`;
        return [token, uses, until].join("  ");
      });
      invocation.result(tokens, lines.length === 0 ? "There are no tokens." : lines.join("\n"));
    },
  },
  {
    name: "token remove",
    usage: "TOKEN",
    summary: "Remove a registration token",
    args: { min: 1, max: 1 },
    async run(invocation) {
      const token = invocation.args[0] ?? "";
      const isRemoved = await withHomeserver(invocation, ({ registrationTokens }) =>
        registrationTokens.remove(token),
      );
      if (!isRemoved) throw new CommandError(`there is no token ${token}`);
      invocation.result({ token, removed: true }, `Removed ${token}.`);
    },
  },
];

function readUses(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (!/^[1-9]\d{0,8}$/.test(text)) throw new UsageError(`--uses: ${text} is no number of uses`);
  return Number(text);
}

function readExpiry(text: string | undefined, now: number): number | undefined {
  if (text === undefined) return undefined;
  const [, count, unit = ""] = /^([1-9]\d{0,5})([mhdw])$/.exec(text) ?? [];
  const unitMs: unknown = Reflect.get(UNITS_MS, unit);
  if (count === undefined || typeof unitMs !== "number") {
    throw new UsageError(`--expires: ${text} is no time such as 12h or 7d`);
  }
  return now + Number(count) * unitMs;
}
