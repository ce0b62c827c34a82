/** `gomin init` and `gomin config …`: making, checking and showing the configuration. */
import * as fs from "node:fs";
import { dirname, resolve } from "node:path";
import { isServerName } from "../../spec/identifiers.ts";
import { dumpConfig, exampleConfig, loadConfig, maskConfig } from "../config/config.ts";
import { loadSigningKey } from "../signing-key.ts";
import { type Command, CommandError, type Invocation, textOption, UsageError } from "./command.ts";

export const configCommands: readonly Command[] = [
  {
    name: "init",
    usage: "[FILE]",
    summary: "Write a configuration with comments, and make the server's key",
    details: "FILE is gomin.yaml where it is left out. An existing file is never overwritten.",
    args: { min: 0, max: 1 },
    options: {
      "server-name": {
        type: "string",
        value: "DOMAIN",
        doc: "The domain of user IDs, as in @alice:DOMAIN. It can never change later.",
      },
      "public-baseurl": {
        type: "string",
        value: "URL",
        doc: "The address by which clients reach the server from outside.",
      },
    },
    run: init,
  },
  {
    name: "config check",
    summary: "Check the configuration, and name file, line and key of each mistake",
    async run(invocation) {
      const { config, file, warnings } = invocation.loadConfig();
      const where = file ?? "There is no file; the defaults";
      invocation.result(
        { ok: true, file: file ?? null, server_name: config.server_name, warnings },
        `${where}: good. The server is ${config.server_name}.`,
      );
    },
  },
  {
    name: "config show",
    summary: "Print all settings in force, with secrets masked",
    async run(invocation) {
      const { config } = invocation.loadConfig();
      invocation.result(maskConfig(config), dumpConfig(config).trimEnd());
    },
  },
];

async function init(invocation: Invocation): Promise<void> {
  const { args, options, terminal } = invocation;
  const file = resolve(terminal.cwd, args[0] ?? textOption(options, "config") ?? "gomin.yaml");
  if (fs.existsSync(file)) throw new CommandError(`${file} is there already`);
  const serverName = textOption(options, "server-name") ?? (await askServerName(invocation));
  const isGood: boolean = isServerName(serverName);
  if (!isGood) throw new UsageError(`${serverName} is no server name`);
  const publicBaseUrl = textOption(options, "public-baseurl");
  const text = exampleConfig({
    server_name: serverName,
    ...(publicBaseUrl === undefined ? {} : { public_baseurl: publicBaseUrl }),
  });
  fs.mkdirSync(dirname(file), { recursive: true });
  // Secrets will stand in it.
  fs.writeFileSync(file, text, { mode: 0o600, flag: "wx" });
  const { config } = loadConfigOrRemove(file, terminal.env);
  await loadSigningKey(config.signing_key_path);
  invocation.result(
    { file, server_name: serverName, signing_key_path: config.signing_key_path },
    [
      `Wrote ${file}, in which every setting stands with its meaning.`,
      `Made the server's key, ${config.signing_key_path}: keep a copy in a safe place.`,
      "Start the server with: npx gomin serve",
    ].join("\n"),
  );
}

/** An address that is no address leaves no file behind. */
function loadConfigOrRemove(
  file: string,
  env: Invocation["terminal"]["env"],
): ReturnType<typeof loadConfig> {
  try {
    return loadConfig({ file, env });
  } catch (error) {
    fs.rmSync(file);
    throw error;
  }
}

async function askServerName({ terminal }: Invocation): Promise<string> {
  if (!terminal.isInteractive) return "localhost";
  const answer = await terminal.ask("Domain of the server, as in @alice:DOMAIN [localhost]: ");
  return answer.trim() === "" ? "localhost" : answer.trim();
}
