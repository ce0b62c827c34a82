/** `gomin user …`: accounts, without the network. */
import { randomBytes } from "node:crypto";
import { isUserId, type UserId } from "../../spec/identifiers.ts";
import { type Command, type Invocation, textOption, UsageError } from "./command.ts";
import { withHomeserver } from "./engine.ts";

const PASSWORD_BYTES = 15;

const passwordOptions = {
  password: {
    type: "string",
    value: "PASSWORD",
    doc: "The password. Other users of this machine can see it while the command runs.",
  },
  "password-stdin": { type: "boolean", doc: "Read the password from standard input." },
  generate: { type: "boolean", doc: "Make up a password and print it." },
} as const;

export const userCommands: readonly Command[] = [
  {
    name: "user create",
    usage: "NAME",
    summary: "Make an account",
    details: "Asks for the password, or makes one up where there is nobody to ask.",
    args: { min: 1, max: 1 },
    options: {
      ...passwordOptions,
      admin: { type: "boolean", doc: "Make the user an administrator of the server." },
      "display-name": { type: "string", value: "NAME", doc: "The name that others see." },
    },
    async run(invocation) {
      const { options, args } = invocation;
      const username = args[0] ?? "";
      const { password, isGenerated } = await choosePassword(invocation);
      const isAdmin = options["admin"] === true;
      const displayName = textOption(options, "display-name");
      const userId = await withHomeserver(invocation, ({ accounts }) =>
        accounts.create({
          username: localpart(invocation, username),
          password,
          isAdmin,
          displayName,
        }),
      );
      const shown = isGenerated ? { password } : {};
      invocation.result(
        { user_id: userId, admin: isAdmin, ...shown },
        `Made ${userId}${isAdmin ? ", an administrator" : ""}.${isGenerated ? `\nPassword: ${password}` : ""}`,
      );
    },
  },
  {
    name: "user list",
    summary: "List the accounts",
    async run(invocation) {
      const users = await withHomeserver(invocation, async ({ accounts }) => {
        const listed: Record<string, unknown>[] = [];
        for await (const account of accounts.list()) {
          listed.push({
            user_id: account.user_id,
            created_ts: account.created_ts,
            admin: account.is_admin,
            guest: account.is_guest,
            locked: account.is_locked,
            suspended: account.is_suspended,
            deactivated: account.is_deactivated,
          });
        }
        return listed;
      });
      invocation.result(
        users,
        users.length === 0 ? "There are no accounts yet." : users.map(describe).join("\n"),
      );
    },
  },
  {
    name: "user reset-password",
    usage: "USER",
    summary: "Set a new password, and log the user out everywhere",
    args: { min: 1, max: 1 },
    options: {
      ...passwordOptions,
      "keep-logins": { type: "boolean", doc: "Leave the user's devices logged in." },
    },
    async run(invocation) {
      const userId = userIdOf(invocation);
      const { password, isGenerated } = await choosePassword(invocation);
      const logOut = invocation.options["keep-logins"] === true ? "none" : "all";
      await withHomeserver(invocation, ({ accounts }) =>
        accounts.setPassword(userId, password, logOut),
      );
      invocation.result(
        { user_id: userId, ...(isGenerated ? { password } : {}) },
        `${userId} has a new password.${isGenerated ? `\nPassword: ${password}` : ""}`,
      );
    },
  },
  {
    name: "user deactivate",
    usage: "USER",
    summary: "End an account for good",
    details: "The user is logged out and leaves all rooms. Nobody can ever have the name again.",
    args: { min: 1, max: 1 },
    options: {
      erase: {
        type: "boolean",
        doc: "Also remove what the user stored, and hide their messages from new members.",
      },
      yes: { type: "boolean", doc: "Do not ask." },
    },
    async run(invocation) {
      const { options, terminal } = invocation;
      const userId = userIdOf(invocation);
      if (options["yes"] !== true) {
        if (!terminal.isInteractive)
          throw new UsageError("this cannot be undone: confirm with --yes");
        const answer = await terminal.ask(`End the account ${userId} for good? Type yes: `);
        if (answer.trim().toLowerCase() !== "yes") {
          invocation.result({ user_id: userId, deactivated: false }, "Nothing was done.");
          return 1;
        }
      }
      const erase = options["erase"] === true;
      await withHomeserver(invocation, ({ accounts }) => accounts.deactivate(userId, { erase }));
      invocation.result({ user_id: userId, deactivated: true }, `${userId} is deactivated.`);
      return 0;
    },
  },
  {
    name: "user make-admin",
    usage: "USER",
    summary: "Make a user an administrator of the server",
    args: { min: 1, max: 1 },
    options: { remove: { type: "boolean", doc: "Take the right away instead." } },
    async run(invocation) {
      const userId = userIdOf(invocation);
      const isAdmin = invocation.options["remove"] !== true;
      await withHomeserver(invocation, ({ accounts }) =>
        accounts.setRights(userId, { is_admin: isAdmin }),
      );
      invocation.result(
        { user_id: userId, admin: isAdmin },
        `${userId} is ${isAdmin ? "now an" : "no longer an"} administrator.`,
      );
    },
  },
];

/** `alice` or `@alice:example.org`, as a user ID of this server. */
function userIdOf(invocation: Invocation): UserId {
  const name = invocation.args[0] ?? "";
  const { server_name: serverName } = invocation.loadConfig().config;
  const userId = name.startsWith("@") ? name : `@${name}:${serverName}`;
  if (!isUserId(userId)) throw new UsageError(`${name} is no user name`);
  if (!userId.endsWith(`:${serverName}`)) {
    throw new UsageError(`${userId} is a user of another server than ${serverName}`);
  }
  return userId;
}

/** The name without the server's, which may be given or not. */
function localpart(invocation: Invocation, name: string): string {
  if (!name.startsWith("@")) return name;
  const userId = userIdOf(invocation);
  return userId.slice(1, userId.indexOf(":"));
}

async function choosePassword(
  invocation: Invocation,
): Promise<{ password: string; isGenerated: boolean }> {
  const { options, terminal } = invocation;
  const ways = ["password", "password-stdin", "generate"].filter(
    (name) => options[name] !== undefined,
  );
  if (ways.length > 1) throw new UsageError(`--${ways.join(" and --")}: give one of them`);
  const given = textOption(options, "password");
  if (given !== undefined) return { password: given, isGenerated: false };
  if (options["password-stdin"] === true) {
    const password = (await terminal.readInput()).replace(/\r?\n$/, "");
    if (password === "") throw new UsageError("standard input holds no password");
    return { password, isGenerated: false };
  }
  if (terminal.isInteractive && options["generate"] !== true) {
    const password = await terminal.ask("Password: ", { isSecret: true });
    const again = await terminal.ask("Once more: ", { isSecret: true });
    if (password !== again) throw new UsageError("the passwords differ");
    return { password, isGenerated: false };
  }
  return { password: randomBytes(PASSWORD_BYTES).toString("base64url"), isGenerated: true };
}

function describe(user: Record<string, unknown>): string {
  const marks = ["admin", "guest", "locked", "suspended", "deactivated"].filter(
    (m) => user[m] === true,
  );
  const created = new Date(Number(user["created_ts"])).toISOString().slice(0, 10);
  return [user["user_id"], `since ${created}`, ...marks].join("  ");
}
