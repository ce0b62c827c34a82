/** The program as a newcomer meets it: one command, no database, no configuration. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import * as fs from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, suite, test } from "node:test";
import { fileURLToPath } from "node:url";

const PROGRAM = fileURLToPath(new URL("../bin/gomin.js", import.meta.url));

let folder = "";
let port = 0;

/** What a command printed, and how it ended. */
interface Ended {
  code: number | null;
  out: string;
  err: string;
}

function start(...args: string[]): ChildProcess {
  const { NODE_TEST_CONTEXT: _, ...env } = process.env;
  return spawn(process.execPath, [PROGRAM, ...args], {
    cwd: folder,
    env: { ...env, GOMIN_LISTENERS: `[{port: ${port}, bind_addresses: ["127.0.0.1"]}]` },
    stdio: ["ignore", "pipe", "pipe"],
  });
}

async function run(...args: string[]): Promise<Ended> {
  const child = start(...args);
  let out = "";
  let err = "";
  child.stdout?.on("data", (chunk: Buffer) => (out += chunk.toString()));
  child.stderr?.on("data", (chunk: Buffer) => (err += chunk.toString()));
  const [code] = (await once(child, "close")) as [number | null];
  return { code, out, err };
}

/** Starts the server, and gives what it said when it was ready. */
async function serve(): Promise<{ server: ChildProcess; banner: string }> {
  const server = start("serve");
  server.stdout?.resume();
  let banner = "";
  for await (const chunk of server.stderr ?? []) {
    banner += String(chunk);
    if (banner.includes("Configuration")) break;
  }
  // The loop's end closes the pipe, which the server must not mind.
  return { server, banner };
}

async function ask(path: string, init?: RequestInit): Promise<{ status: number; text: string }> {
  const response = await fetch(`http://127.0.0.1:${port}${path}`, init);
  return { status: response.status, text: await response.text() };
}

function post(body: unknown): RequestInit {
  return { method: "POST", body: JSON.stringify(body) };
}

/** The commands of all PostgreSQL servers that run on the folder's data. */
function databases(): string[] {
  return fs.readdirSync("/proc").flatMap((pid) => {
    try {
      const command = fs.readFileSync(`/proc/${pid}/cmdline`, "latin1");
      return command.includes("/bin/postgres\0") && command.includes(`\0${folder}/`)
        ? [command]
        : [];
    } catch {
      return [];
    }
  });
}

suite("the command line", { skip: process.platform !== "linux" && "looks into /proc" }, () => {
  before(async () => {
    folder = fs.mkdtempSync(join(tmpdir(), "gomin-newcomer-"));
    fs.chmodSync(folder, 0o755);
    const free = createServer().listen(0, "127.0.0.1");
    await once(free, "listening");
    port = (free.address() as AddressInfo).port;
    free.close();
  });

  after(() => fs.rmSync(folder, { recursive: true, force: true }));

  test("a server says where it is and how to make an account, and the account can log in", async () => {
    const { server, banner } = await serve();
    assert.match(banner, new RegExp(`Address +http://localhost:${port}`));
    assert.ok(banner.includes(join(folder, "data")));
    assert.match(banner, /npx gomin user create NAME --admin/);
    const page = await ask("/");
    assert.match(page.text, /It works/);
    assert.equal((await ask("/ready")).status, 200);

    const [, token] = /registration token\n\n +(\S+)/.exec(banner) ?? [];
    const register = "/_matrix/client/v3/register";
    const wanted = { username: "alice", password: "a long enough password" };
    const asked = JSON.parse((await ask(register, post(wanted))).text) as { session: string };
    const auth = { type: "m.login.registration_token", token, session: asked.session };
    assert.equal((await ask(register, post({ ...wanted, auth }))).status, 200);

    const made = await run(
      "user",
      "create",
      "bob",
      "--password",
      "another long password",
      "--json",
    );
    assert.deepEqual(JSON.parse(made.out), { user_id: "@bob:localhost", admin: false }, made.err);
    const identifier = { type: "m.id.user", user: "bob" };
    const login = { type: "m.login.password", identifier, password: "another long password" };
    assert.equal((await ask("/_matrix/client/v3/login", post(login))).status, 200);

    const exit = once(server, "exit");
    server.kill("SIGTERM");
    assert.deepEqual(await exit, [0, null]);
    assert.deepEqual(databases(), []);
  });

  test("commands work without a server too, and leave no database running", async () => {
    const listed = await run("user", "list", "--json");
    const users = JSON.parse(listed.out) as { user_id: string }[];
    assert.deepEqual(
      users.map(({ user_id }) => user_id),
      ["@alice:localhost", "@bob:localhost"],
    );
    assert.deepEqual(databases(), []);
  });

  test("a server that is killed, with the one that started it, starts again on its data", async () => {
    for (let i = 0; i < 2; i += 1) {
      const { server, banner } = await serve();
      assert.doesNotMatch(banner, /There are no accounts/);
      const exit = once(server, "exit");
      server.kill("SIGKILL");
      await exit;
    }
    const { server } = await serve();
    assert.equal((await ask("/ready")).status, 200);
    const second = await run("serve");
    assert.equal(second.code, 1);
    assert.match(second.err, /another program listens there/);
    assert.equal((await ask("/ready")).status, 200, "the first is none the worse");
    const exit = once(server, "exit");
    server.kill("SIGINT");
    assert.deepEqual(await exit, [0, null]);
    assert.deepEqual(databases(), []);
  });
});
