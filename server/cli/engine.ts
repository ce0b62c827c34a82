/** The homeserver's parts for a command that changes accounts: beside a running server, or without one. */
import { createLog } from "../log.ts";
import { CommandError, type Homeserver, type Invocation } from "./command.ts";

/** Runs something on the server's database, which it starts where that is the embedded one and not running. */
export async function withHomeserver<T>(
  invocation: Invocation,
  run: (homeserver: Homeserver) => Promise<T>,
): Promise<T> {
  const { config } = invocation.loadConfig();
  const log = createLog(
    { level: "warn", format: "text" },
    { write: (line) => invocation.terminal.err(line) },
  );
  await using homeserver = await invocation.ports
    .startHomeserver({ config: { ...config, listeners: [] }, log })
    .catch((cause: unknown) => {
      const why = cause instanceof Error ? cause.message : String(cause);
      throw new CommandError(`the server's database cannot be used: ${why}`, { cause });
    });
  return await run(homeserver);
}
