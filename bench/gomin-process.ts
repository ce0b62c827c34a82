/** Gomin as a process to measure. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { loadConfig } from "../server/config/config.ts";
import { startHomeserver } from "../server/main.ts";

const folder = process.env["BENCH_FOLDER"] ?? "";
const file = join(folder, "gomin.yaml");
await writeFile(
  file,
  JSON.stringify({
    server_name: "localhost",
    data_dir: folder,
    listeners: [{ port: 0, bind_addresses: ["127.0.0.1"], resources: ["client"] }],
    registration_requires_token: false,
    enable_registration_without_verification: true,
    enable_rate_limits: false,
    log: { level: "error" },
  }),
);
const { config } = loadConfig({ file, env: {} });
const server = await startHomeserver({
  config,
  database: { url: process.env["BENCH_DATABASE"] ?? "" },
});
process.on("message", (question) => {
  if (question === "cpu") process.send?.(process.cpuUsage());
});
process.on("SIGTERM", () => {
  void server[Symbol.asyncDispose]().then(() => process.exit(0));
});
process.send?.(server.listeners[0]?.url);
