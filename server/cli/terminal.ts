/** The terminal that the program was started in. */
import { createInterface } from "node:readline/promises";
import { Writable } from "node:stream";
import { text } from "node:stream/consumers";
import type { Terminal } from "./command.ts";

// Whoever reads our output may stop reading, as `head` does.
for (const stream of [process.stdout, process.stderr]) stream.on("error", () => undefined);

export const terminal: Terminal = {
  env: process.env,
  cwd: process.cwd(),
  out: (line) => void process.stdout.write(line),
  err: (line) => void process.stderr.write(line),
  isInteractive: process.stdin.isTTY && process.stderr.isTTY,
  async ask(question, { isSecret = false } = {}) {
    process.stderr.write(question);
    // What is typed is echoed by readline and not by the terminal.
    const nowhere = new Writable({ write: (_chunk, _encoding, done) => done() });
    const lines = createInterface({
      input: process.stdin,
      output: isSecret ? nowhere : process.stderr,
      terminal: true,
    });
    try {
      return await lines.question("");
    } finally {
      lines.close();
      if (isSecret) process.stderr.write("\n");
    }
  },
  readInput: () => text(process.stdin),
};
