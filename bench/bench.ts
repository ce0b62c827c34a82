/** `npm run bench -- <name>`: see README.md. */
import { parseArgs } from "node:util";
import { globalSetup, globalTeardown } from "../test/global-setup.ts";
import { http } from "./http.ts";
import { send } from "./send.ts";
import { sync } from "./sync.ts";

const BENCHES: Record<string, (options: { seconds: number }) => Promise<boolean>> = {
  send,
  sync,
  http,
};

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { seconds: { type: "string", default: "4" } },
});
const [name = ""] = positionals;
const run = BENCHES[name];
if (run === undefined) {
  console.error(`usage: npm run bench -- ${Object.keys(BENCHES).join("|")} [--seconds N]`);
  process.exitCode = 2;
} else {
  await globalSetup();
  try {
    const holds = await run({ seconds: Number(values.seconds) });
    console.log(holds ? "\nall claims hold" : "\nA CLAIM DOES NOT HOLD");
    if (!holds) process.exitCode = 1;
  } finally {
    await globalTeardown();
  }
}
