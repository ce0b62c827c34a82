import assert from "node:assert/strict";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { MatrixError } from "../../spec/errors.ts";
import type { Account, NewAccount, RegistrationToken } from "../accounts/accounts.ts";
import { runCli } from "./cli.ts";
import type { Homeserver, Ports, Terminal } from "./command.ts";

const top = fs.mkdtempSync(join(tmpdir(), "gomin-cli-"));
after(() => fs.rmSync(top, { recursive: true }));

/** What was done to a homeserver. */
interface Deeds {
  created: NewAccount[];
  passwords: [string, string, unknown][];
  rights: [string, unknown][];
  deactivated: [string, boolean][];
  listeners: number[];
  stopped: number;
}

interface Outcome extends Deeds {
  code: number;
  out: string;
  err: string;
  json: unknown;
}

interface Given {
  users?: Partial<Account>[];
  tokens?: RegistrationToken[];
  answers?: string[];
  input?: string;
  cwd?: string;
  env?: Record<string, string>;
}

let folders = 0;

async function run(args: readonly string[], given: Given = {}): Promise<Outcome> {
  const deeds: Deeds = {
    created: [],
    passwords: [],
    rights: [],
    deactivated: [],
    listeners: [],
    stopped: 0,
  };
  const tokens = given.tokens ?? [];
  const answers = [...(given.answers ?? [])];
  const homeserver: Homeserver = {
    listeners: [],
    accounts: {
      async create(account) {
        if (account.username === "taken")
          throw new MatrixError("M_USER_IN_USE", "User ID is taken");
        deeds.created.push(account);
        return `@${account.username}:localhost`;
      },
      async *list() {
        for (const user of given.users ?? []) yield user as Account;
      },
      get: () => assert.fail("not asked"),
      async setPassword(userId, password, logOut) {
        deeds.passwords.push([userId, password, logOut]);
      },
      async setRights(userId, rights) {
        deeds.rights.push([userId, rights]);
      },
      async deactivate(userId, { erase }) {
        deeds.deactivated.push([userId, erase]);
      },
    },
    registrationTokens: {
      async create({ token = "random", usesAllowed = null, expiresTs = null } = {}) {
        const row = { token, completed: 0, created_ts: 0 };
        tokens.push({ ...row, uses_allowed: usesAllowed ?? null, expires_ts: expiresTs ?? null });
        return token;
      },
      list: async () => tokens,
      remove: async (token) => tokens.some((known) => known.token === token),
    },
    async [Symbol.asyncDispose]() {
      deeds.stopped += 1;
    },
  };
  const ports: Ports = {
    version: "1.2.3",
    async startHomeserver({ config }) {
      deeds.listeners.push(config.listeners.length);
      return homeserver;
    },
  };
  folders += 1;
  const cwd = given.cwd ?? join(top, String(folders));
  fs.mkdirSync(cwd, { recursive: true });
  let out = "";
  let err = "";
  const terminal: Terminal = {
    env: given.env ?? {},
    cwd,
    out: (text) => void (out += text),
    err: (text) => void (err += text),
    isInteractive: given.answers !== undefined,
    ask: async () => answers.shift() ?? assert.fail("asked once too often"),
    readInput: async () => given.input ?? "",
  };
  const code = await runCli(args, ports, terminal);
  return { ...deeds, code, out, err, json: args.includes("--json") ? JSON.parse(out) : undefined };
}

test("without a command there is help that names them all", async () => {
  for (const args of [[], ["--help"], ["help"], ["-h"]]) {
    const { code, out } = await run(args);
    assert.equal(code, 0);
    for (const name of [
      "serve",
      "init",
      "config check",
      "user create",
      "user list",
      "user reset-password",
      "user deactivate",
      "user make-admin",
      "token create",
      "doctor",
    ]) {
      assert.match(out, new RegExp(`^ {2}${name}\\b`, "m"));
    }
  }
  assert.doesNotMatch((await run(["user"])).out, /token create/);
});

test("each command has help of its own, and --version is the version", async () => {
  for (const args of [
    ["user", "create", "--help"],
    ["help", "user", "create"],
  ]) {
    const { code, out } = await run(args);
    assert.equal(code, 0);
    assert.match(out, /Usage: gomin user create NAME/);
    assert.match(out, /--admin/);
  }
  assert.equal((await run(["--version"])).out, "1.2.3\n");
});

test("what is not understood is told with what may have been meant, and code 2", async () => {
  const cases: [string[], RegExp][] = [
    [["sevre"], /no command sevre; did you mean serve\?/],
    [["user", "creat", "x"], /no command user creat; did you mean user create\?/],
    [["user", "create"], /NAME is missing: gomin user create NAME/],
    [["user", "create", "a", "b"], /b is too much/],
    [["user", "list", "--jsn"], /no option --jsn; did you mean --json\?/],
    [["config", "check", "--config"], /--config: FILE expected/],
    [["user", "create", "a", "--password", "x", "--generate"], /give one of them/],
    [["user", "make-admin", "@a:elsewhere.org"], /a user of another server than localhost/],
    [["user", "make-admin", "@@"], /no user name/],
    [["token", "create", "--uses", "many"], /--uses: many/],
    [["token", "create", "--expires", "soon"], /--expires: soon/],
    [["user", "deactivate", "a"], /confirm with --yes/],
  ];
  for (const [args, expected] of cases) {
    const { code, err, listeners } = await run(args);
    assert.equal(code, 2, args.join(" "));
    assert.match(err, expected);
    assert.deepEqual(listeners, [], "nothing was started");
  }
});

test("an account is made with a password that is given, asked for, read, or made up", async () => {
  const given = await run(["user", "create", "alice", "--password", "a long secret", "--admin"]);
  assert.equal(given.code, 0);
  assert.match(given.out, /^Made @alice:localhost, an administrator\.\n$/);
  assert.deepEqual(given.created, [
    { username: "alice", password: "a long secret", isAdmin: true, displayName: undefined },
  ]);
  const asked = await run(["user", "create", "@bob:localhost"], {
    answers: ["secret 1", "secret 1"],
  });
  assert.deepEqual([asked.created[0]?.username, asked.created[0]?.password], ["bob", "secret 1"]);
  const typo = await run(["user", "create", "bob"], { answers: ["one", "two"] });
  assert.deepEqual([typo.code, typo.created], [2, []]);
  const read = await run(["user", "create", "c", "--password-stdin"], { input: "from a pipe\n" });
  assert.equal(read.created[0]?.password, "from a pipe");
  const madeUp = await run(["user", "create", "d", "--json"]);
  const { password, ...rest } = madeUp.json as Record<string, unknown>;
  assert.deepEqual(rest, { user_id: "@d:localhost", admin: false });
  assert.match(String(password), /^[\w-]{20}$/);
  assert.equal(madeUp.created[0]?.password, password);
  assert.doesNotMatch(read.out, /pipe/, "a password that is known is not shown");
});

test("a command uses the database without listening, and lets go of it", async () => {
  const { listeners, stopped } = await run(["user", "create", "alice", "--generate"]);
  assert.deepEqual(listeners, [0]);
  assert.equal(stopped, 1);
});

test("what the server refuses is told in its words, with code 1", async () => {
  const { code, err, stopped } = await run(["user", "create", "taken", "--generate"]);
  assert.deepEqual([code, err], [1, "gomin: User ID is taken\n"]);
  assert.equal(stopped, 1);
  const { json } = await run(["user", "create", "taken", "--generate", "--json"]);
  assert.deepEqual(json, { ok: false, error: "User ID is taken" });
});

test("accounts are listed, with new passwords, rights and ends", async () => {
  const users = [
    { user_id: "@a:localhost", created_ts: 0, is_admin: true },
    { user_id: "@b:localhost", created_ts: 0, is_deactivated: true },
  ] as const;
  assert.match(
    (await run(["user", "list"], { users: [...users] })).out,
    /^@a:localhost {2}since 1970-01-01 {2}admin\n@b:localhost {2}since 1970-01-01 {2}deactivated\n$/,
  );
  const reset = await run(["user", "reset-password", "a", "--password", "new secret"]);
  assert.deepEqual(reset.passwords, [["@a:localhost", "new secret", "all"]]);
  const kept = await run(["user", "reset-password", "a", "--generate", "--keep-logins"]);
  assert.equal(kept.passwords[0]?.[2], "none");
  assert.deepEqual((await run(["user", "make-admin", "a"])).rights, [
    ["@a:localhost", { is_admin: true }],
  ]);
  const removed = await run(["user", "make-admin", "a", "--remove"]);
  assert.deepEqual(removed.rights, [["@a:localhost", { is_admin: false }]]);
  const ended = await run(["user", "deactivate", "a", "--yes", "--erase"]);
  assert.deepEqual(ended.deactivated, [["@a:localhost", true]]);
  const sure = await run(["user", "deactivate", "a"], { answers: ["yes"] });
  assert.deepEqual(sure.deactivated, [["@a:localhost", false]]);
  const unsure = await run(["user", "deactivate", "a"], { answers: ["no"] });
  assert.deepEqual([unsure.code, unsure.deactivated], [1, []]);
});

test("registration tokens are made, listed and removed", async () => {
  assert.equal((await run(["token", "create"])).out, "random\n");
  const before = Date.now();
  const { json } = await run([
    "token",
    "create",
    "--token",
    "x",
    "--uses",
    "3",
    "--expires",
    "2h",
    "--json",
  ]);
  const { token, uses_allowed, expires_ts } = json as Record<string, number>;
  assert.deepEqual([token, uses_allowed], ["x", 3]);
  assert.ok(Math.abs((expires_ts ?? 0) - before - 7_200_000) < 5_000);
  const tokens = [{ token: "t", uses_allowed: 2, completed: 1, created_ts: 0, expires_ts: null }];
  assert.equal((await run(["token", "list"], { tokens })).out, "t  used 1 of 2  for ever\n");
  assert.equal((await run(["token", "remove", "t"], { tokens })).code, 0);
  assert.equal((await run(["token", "remove", "u"], { tokens })).code, 1);
});

test("init writes a configuration that is good, and a key that others cannot read; never over another", async () => {
  const cwd = join(top, "init");
  const { code, out } = await run(["init", "--server-name", "example.org"], { cwd });
  assert.equal(code, 0, out);
  const file = join(cwd, "gomin.yaml");
  assert.equal(fs.statSync(file).mode & 0o777, 0o600);
  const key = join(cwd, "data", "example.org.signing.key");
  assert.equal(fs.statSync(key).mode & 0o777, 0o600);
  const { json } = await run(["config", "check", "--json"], { cwd });
  assert.deepEqual(json, { ok: true, file, server_name: "example.org", warnings: [] });
  const again = await run(["init", "--server-name", "other.org"], { cwd });
  assert.equal(again.code, 1);
  assert.match(fs.readFileSync(file, "utf8"), /server_name: "example\.org"/);
});

test("init asks for the name, and leaves nothing behind where an answer is no good", async () => {
  const cwd = join(top, "asked");
  await run(["init", "other.yaml"], { cwd, answers: ["example.net"] });
  assert.match(fs.readFileSync(join(cwd, "other.yaml"), "utf8"), /server_name: "example\.net"/);
  for (const options of [
    ["--server-name", "no name"],
    ["--server-name", "a.org", "--public-baseurl", "nowhere"],
  ]) {
    assert.notEqual((await run(["init", "bad.yaml", ...options], { cwd })).code, 0);
    assert.equal(fs.existsSync(join(cwd, "bad.yaml")), false);
  }
});

test("config check names file, line and key; config show masks", async () => {
  const cwd = join(top, "check");
  fs.mkdirSync(cwd);
  const file = join(cwd, "gomin.yaml");
  fs.writeFileSync(file, "server_name: a.org\nlog:\n  levle: info\n");
  const { code, err } = await run(["config", "check"], { cwd });
  assert.equal(code, 1);
  assert.match(
    err,
    new RegExp(`${file}:3: log\\.levle: there is no such setting; did you mean level\\?`),
  );
  const { json } = await run(["config", "check", "--json"], { cwd });
  const { ok, problems } = json as { ok: boolean; problems: { line: number; key: string }[] };
  assert.deepEqual([ok, problems[0]?.line, problems[0]?.key], [false, 3, "log.levle"]);
  const env = { GOMIN_REGISTRATION_SHARED_SECRET: "planted secret", GOMIN_SERVRE_NAME: "x" };
  const shown = await run(["config", "show"], { env });
  assert.match(shown.out, /registration_shared_secret: "\*+"/);
  assert.doesNotMatch(shown.out + shown.err, /planted/);
  assert.match(shown.err, /^warning: .*GOMIN_SERVRE_NAME/);
});

test("the configuration's file may be named before or after the command", async () => {
  const cwd = join(top, "named");
  fs.mkdirSync(cwd);
  fs.writeFileSync(join(cwd, "other.yaml"), "server_name: named.org\n");
  for (const args of [
    ["--config", "other.yaml", "config", "check", "--json"],
    ["config", "check", "-c", "other.yaml", "--json"],
  ]) {
    const { json } = await run(args, { cwd });
    assert.equal((json as { server_name: string }).server_name, "named.org");
  }
});

test("doctor changes nothing, and says what it found", async () => {
  const cwd = join(top, "doctor");
  fs.mkdirSync(cwd);
  const { code, json } = await run(["doctor", "--json"], {
    cwd,
    env: { GOMIN_LISTENERS: "[{port: 0, bind_addresses: [127.0.0.1]}]" },
  });
  const { ok, findings } = json as { ok: boolean; findings: { check: string; status: string }[] };
  assert.deepEqual([code, ok], [0, true], JSON.stringify(findings));
  const states = new Map(findings.map(({ check, status }) => [check, status]));
  assert.equal(states.get("database"), "skipped");
  assert.equal(states.get("ports"), "ok");
  assert.deepEqual(fs.readdirSync(cwd), []);
});

test("doctor names what failed, with advice and code 1", async () => {
  const { code, out } = await run(["doctor"], {
    env: {
      GOMIN_DATABASE_URL: "postgres://nobody:planted@127.0.0.1:1/none",
      GOMIN_REDIS_URL: "redis://127.0.0.1:1",
      GOMIN_NATS_URL: "nats://127.0.0.1:1",
      GOMIN_LISTENERS: "[{port: 0, bind_addresses: [127.0.0.1]}]",
    },
  });
  assert.equal(code, 1);
  for (const name of ["database", "redis", "nats"]) {
    assert.match(out, new RegExp(`^FAILED +${name} `, "m"));
  }
  assert.match(out, /3 of 10 checks failed\.\n$/);
  assert.doesNotMatch(out, /planted/);
});
