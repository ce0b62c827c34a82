/** Servers to measure, each a process of its own on a database of its own. */
import { fork } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openTestDatabase } from "../storage/testing.ts";
import { Client, type Target } from "./load.ts";

export interface Measured extends AsyncDisposable {
  baseUrl: string;
  pid: number;
  /** Asks the process something; it answers with a JSON value. */
  ask(question: string): Promise<unknown>;
}

/** Starts `gomin.ts` or `yardstick.ts` of this folder. */
export async function start(script: "gomin" | "yardstick"): Promise<Measured> {
  const database = await openTestDatabase();
  const folder = await mkdtemp(join(tmpdir(), "gomin-bench-"));
  const child = fork(new URL(`./${script}-process.ts`, import.meta.url), {
    env: { ...process.env, BENCH_DATABASE: database.connection.url ?? "", BENCH_FOLDER: folder },
    execArgv: [],
  });
  const next = (): Promise<unknown> =>
    new Promise((resolve, reject) => {
      child.once("message", resolve);
      child.once("exit", (code) => reject(new Error(`${script} ended with ${code}`)));
    });
  const baseUrl = String(await next());
  child.removeAllListeners("exit");
  return {
    baseUrl,
    pid: child.pid ?? 0,
    ask(question) {
      const answer = next();
      child.send(question);
      return answer;
    },
    async [Symbol.asyncDispose]() {
      const gone = new Promise((resolve) => child.once("exit", resolve));
      child.kill("SIGTERM");
      await gone;
      await database[Symbol.asyncDispose]();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

export interface User extends Target {
  token: string;
  userId: string;
}

/** Makes an account on Gomin. */
export async function register(baseUrl: string, username: string): Promise<User> {
  using client = new Client({ baseUrl }, 1);
  const made = await client.json<{ access_token: string; user_id: string }>(
    "POST",
    "/_matrix/client/v3/register",
    { username, password: "correct horse battery", auth: { type: "m.login.dummy" } },
  );
  return { baseUrl, token: made.access_token, userId: made.user_id };
}
