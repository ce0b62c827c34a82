/** An S3 server for tests. */
import { randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import { createRequire } from "node:module";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { S3Options } from "./blobs-s3.ts";

/** What we use of `s3rver`, which brings no types. */
interface S3rver {
  configureBuckets(): Promise<unknown>;
  callback(): Parameters<typeof createServer>[1];
  close(callback: () => void): void;
  httpServer: Server;
}

export interface TestS3 extends AsyncDisposable {
  readonly options: S3Options;
  readonly folder: string;
  /** Answers with nothing at all, or as ever. */
  hang(isHanging: boolean): void;
  /** Breaks all connections and takes no more. */
  stop(): Promise<void>;
  /** Is there again, with what it had, under the same address. */
  start(): Promise<void>;
  /** What was asked, as `PUT /bucket/name`. */
  readonly requests: string[];
}

export async function startTestS3(): Promise<TestS3> {
  const make = createRequire(import.meta.url)("s3rver") as new (options: object) => S3rver;
  const folder = await mkdtemp(join(tmpdir(), "gomin-s3-"));
  const bucket = `media-${randomBytes(4).toString("hex")}`;
  const s3rver = new make({
    directory: folder,
    silent: true,
    configureBuckets: [{ name: bucket }],
  });
  await s3rver.configureBuckets();
  const answer = s3rver.callback();
  const requests: string[] = [];
  let isHanging = false;
  let server: Server;
  let port = 0;

  async function start(): Promise<void> {
    server = createServer((request, response) => {
      requests.push(`${request.method} ${request.url}`);
      if (!isHanging) answer?.(request, response);
    });
    await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
    port = (server.address() as AddressInfo).port;
  }
  async function stop(): Promise<void> {
    const closed = new Promise((resolve) => server.close(resolve));
    server.closeAllConnections();
    await closed;
  }
  await start();
  return {
    options: {
      endpoint: `http://127.0.0.1:${port}`,
      region: "us-east-1",
      bucket,
      accessKey: "S3RVER",
      secretKey: "S3RVER",
      prefix: "gomin/",
      timeoutMs: 400,
    },
    folder,
    requests,
    hang(hanging) {
      isHanging = hanging;
    },
    start,
    stop,
    async [Symbol.asyncDispose]() {
      await stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}
