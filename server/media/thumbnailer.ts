/** Makes thumbnails in processes of their own: few at a time, each within bounded time. */
import { type ChildProcess, fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { ThumbnailJob, ThumbnailResult } from "./thumbnail-process.ts";

/** What is to be made of an image. */
export interface ThumbnailOrder extends Pick<ThumbnailJob, "request" | "maxPixels"> {
  /** Reads the image, once it is its turn; undefined where it is none. */
  load(): Promise<Pick<ThumbnailJob, "bytes" | "kind"> | undefined>;
}

export interface Thumbnailer extends AsyncDisposable {
  /** @throws ThumbnailerBusy where too many wait already; the error of `load` */
  make(order: ThumbnailOrder): Promise<ThumbnailerResult>;
}

/** `killed`: it took too long, or broke its process. */
export type ThumbnailerResult = ThumbnailResult | { problem: "killed" };

export class ThumbnailerBusy extends Error {
  override readonly name = "ThumbnailerBusy";
}

export interface ThumbnailerOptions {
  /** Images that are decoded at the same time. */
  processes?: number;
  /** Images that may wait for that. */
  maxWaiting?: number;
  /** Time in ms for one image, after which its process is killed. */
  timeoutMs?: number;
  /** Time in ms after which a process without work ends. */
  idleMs?: number;
}

const PROGRAM = fileURLToPath(new URL("./thumbnail-process.ts", import.meta.url));

interface Task {
  order: ThumbnailOrder;
  resolve(result: ThumbnailerResult): void;
  reject(error: unknown): void;
}

export function openThumbnailer(options: ThumbnailerOptions = {}): Thumbnailer {
  const { processes = 2, maxWaiting = 64, timeoutMs = 10_000, idleMs = 60_000 } = options;
  const waiting: Task[] = [];
  const idle: { child: ChildProcess; end: NodeJS.Timeout }[] = [];
  const alive = new Set<ChildProcess>();
  let working = 0;
  let isClosed = false;

  function start(): ChildProcess {
    const child = fork(PROGRAM, [], {
      execArgv: [],
      env: {},
      serialization: "advanced",
      stdio: ["ignore", "ignore", "ignore", "ipc"],
    });
    alive.add(child);
    child.once("exit", () => {
      alive.delete(child);
      const at = idle.findIndex((one) => one.child === child);
      if (at >= 0) clearTimeout(idle.splice(at, 1)[0]?.end);
    });
    // Whoever waits for its answer sees that it exits.
    child.on("error", () => child.kill("SIGKILL"));
    return child;
  }

  function take(): ChildProcess {
    const spare = idle.pop();
    clearTimeout(spare?.end);
    return spare?.child ?? start();
  }

  function giveBack(child: ChildProcess): void {
    if (isClosed || child.killed || !alive.has(child)) return;
    idle.push({ child, end: setTimeout(() => child.kill("SIGKILL"), idleMs).unref() });
  }

  function work(): void {
    while (working < processes) {
      const task = waiting.shift();
      if (task === undefined) return;
      working += 1;
      void perform(task);
    }
  }

  async function perform({ order, resolve, reject }: Task): Promise<void> {
    try {
      const { load, request, maxPixels } = order;
      const image = await load();
      if (image === undefined) return resolve({ problem: "undecodable" });
      const child = take();
      const result = await run(child, { ...image, request, maxPixels });
      giveBack(child);
      resolve(result);
    } catch (error) {
      reject(error);
    } finally {
      working -= 1;
      work();
    }
  }

  /** A process that dies with an image takes only this image along. */
  function run(child: ChildProcess, job: ThumbnailJob): Promise<ThumbnailerResult> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => {
        child.kill("SIGKILL");
        settle({ problem: "killed" });
      }, timeoutMs);
      const onExit = (): void => settle({ problem: "killed" });
      const settle = (result: ThumbnailerResult): void => {
        clearTimeout(timer);
        child.off("message", settle).off("exit", onExit);
        resolve(result);
      };
      child.once("message", settle).once("exit", onExit);
      child.send(job, (error) => {
        if (error !== null) child.kill("SIGKILL");
      });
    });
  }

  return {
    make(order) {
      if (isClosed || waiting.length >= maxWaiting) {
        return Promise.reject(new ThumbnailerBusy("too many images wait to be decoded"));
      }
      return new Promise((resolve, reject) => {
        waiting.push({ order, resolve, reject });
        work();
      });
    },
    async [Symbol.asyncDispose]() {
      isClosed = true;
      for (const { resolve } of waiting.splice(0)) resolve({ problem: "killed" });
      const ended = [...alive].map(
        (child) => new Promise((resolve) => child.once("exit", resolve)),
      );
      for (const child of alive) child.kill("SIGKILL");
      await Promise.all(ended);
    },
  };
}
