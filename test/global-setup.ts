/**
 * Runs once before all tests: finds the PostgreSQL they work on, or starts the embedded one.
 *
 * GOMIN_TEST_DATABASE_URL names another server, whose role may create databases.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startEmbeddedPostgres } from "../storage/embedded-postgres.ts";

let stop: (() => Promise<void>) | undefined;

export async function globalSetup(): Promise<void> {
  if (process.env["GOMIN_TEST_DATABASE_URL"] !== undefined) return;
  const folder = await mkdtemp(join(tmpdir(), "gomin-tests-"));
  const postgres = await startEmbeddedPostgres({
    dataDir: folder,
    onProblem: (message, error) => console.error(message, error),
  });
  const { host, user, password, database } = postgres.connection;
  const url = new URL(`postgres://localhost/${database ?? "postgres"}`);
  url.username = user ?? "";
  url.password = password ?? "";
  url.searchParams.set("host", host ?? "");
  process.env["GOMIN_TEST_DATABASE_URL"] = url.href;
  stop = async () => {
    await postgres[Symbol.asyncDispose]();
    await rm(folder, { recursive: true, force: true });
  };
}

export async function globalTeardown(): Promise<void> {
  await stop?.();
}
