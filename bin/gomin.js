#!/usr/bin/env node
/**
 * The command `gomin`: runs on the Node that is there, and starts the program on the one that it is made for,
 * which npm installed beside it.
 */
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { constants } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const main = join(root, "server", "main.ts");
const node = findNode();

if (node === undefined) {
  console.error("gomin: its packages are not installed; run: npm ci");
  process.exit(1);
}

// The channel tells the program when this process ends, even when it is killed.
const child = spawn(node, [main, ...process.argv.slice(2)], {
  stdio: ["inherit", "inherit", "inherit", "ipc"],
});
for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"]) {
  process.on(signal, () => {
    // A terminal sends its signals to both of us.
    if (signal !== "SIGINT" || !process.stdin.isTTY) child.kill(signal);
  });
}
child.on("error", (error) => {
  console.error(`gomin: ${node} cannot be run: ${error.message}`);
  process.exit(1);
});
child.on("exit", (code, signal) => {
  process.exit(signal === null ? (code ?? 1) : 128 + constants.signals[signal]);
});

/** The Node of our packages, wherever npm put them; or the one that runs this, if it is new enough. */
function findNode() {
  for (let folder = root; ; folder = dirname(folder)) {
    const path = join(folder, "node_modules", "node", "bin", "node");
    if (existsSync(path)) return path;
    if (folder === dirname(folder)) break;
  }
  return Number(process.versions.node.split(".")[0]) >= 24 ? process.execPath : undefined;
}
