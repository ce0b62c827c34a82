/** A homeserver with its embedded database, as a process that can be killed. Tells where both are. */
import { loadConfig } from "../../server/config/config.ts";
import { startHomeserver } from "../../server/main.ts";

const { config } = loadConfig({ file: process.argv[2] ?? "", env: {} });
const server = await startHomeserver({ config });
process.on("disconnect", () => process.exit(1));
process.send?.({ url: server.listeners[0]?.url });
