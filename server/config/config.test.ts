import assert from "node:assert/strict";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import {
  type Config,
  ConfigError,
  loadConfig,
  type LoadedConfig,
  publicBaseUrl,
  rateLimitSettings,
} from "./config.ts";
import { DEFAULT_LIMITS } from "../rate-limits/rate-limits.ts";
import { dumpConfig, exampleConfig } from "./dump.ts";
import { environmentNames } from "./reader.ts";
import { REFERENCE_FILE, renderPage } from "./reference.ts";
import { settings } from "./settings.ts";
import { suggest } from "./suggest.ts";

const folder = fs.mkdtempSync(join(tmpdir(), "gomin-config-"));
after(() => fs.rmSync(folder, { recursive: true }));

function load(yaml: string, env: Record<string, string> = {}): LoadedConfig {
  const file = join(folder, "gomin.yaml");
  fs.writeFileSync(file, yaml);
  return loadConfig({ file, env });
}

/** What is wrong with a text, as `line key: message`. */
function problems(yaml: string, env: Record<string, string> = {}): string[] {
  try {
    load(yaml, env);
  } catch (error) {
    assert.ok(error instanceof ConfigError, String(error));
    return error.problems.map(({ line, key, message }) => `${line ?? "-"} ${key}: ${message}`);
  }
  return [];
}

const defaults = (): Config => load("").config;

test("without a file there are defaults, and they are safe", () => {
  const none = join(folder, "empty");
  fs.mkdirSync(none);
  const { config, file } = loadConfig({ cwd: none, env: {} });
  assert.equal(file, undefined);
  assert.equal(config.server_name, "localhost");
  assert.equal(config.data_dir, join(none, "data"));
  assert.equal(config.signing_key_path, join(none, "data", "localhost.signing.key"));
  assert.equal(config.media.path, join(none, "data", "media"));
  assert.deepEqual(config.listeners, [
    {
      port: 8008,
      bind_addresses: ["127.0.0.1", "::1"],
      tls: { cert: undefined, key: undefined },
      x_forwarded: false,
      trusted_proxies: undefined,
      resources: ["client", "federation"],
    },
  ]);
  assert.equal(config.registration_requires_token, true);
  assert.equal(config.registration_shared_secret, undefined, "V106, V119: none but what is set");
  assert.equal(config.federation.verify_certificates, true);
  assert.equal(config.enable_rate_limits, true);
});

test("an empty file, empty sections and nulls are defaults too", () => {
  const expected = defaults();
  for (const yaml of [
    "",
    "# nothing\n",
    "database:\nmedia:\n  s3:\n",
    "server_name:\nlog: null\n",
  ]) {
    assert.deepEqual(load(yaml).config, expected, yaml);
  }
});

test("settings are read from the file, with units, and paths from its folder", () => {
  const { config } = load(`
server_name: example.org
data_dir: ../elsewhere
media:
  max_upload_size: 100M
  unused_expiration_time: 2h
listeners:
  - port: 8448
    bind_addresses: ["::"]
    tls: {cert: c.pem, key: /k.pem}
    resources: [federation]
  - port: 9000
    resources: [metrics]
rc_login:
  failed_attempts:
    per_second: 0.5
default_room_version: 11
`);
  assert.equal(config.data_dir, join(folder, "..", "elsewhere"));
  assert.equal(config.media.max_upload_size, 100 * 1024 * 1024);
  assert.equal(config.media.unused_expiration_time, 7_200_000);
  assert.deepEqual(config.listeners[0]?.tls, { cert: join(folder, "c.pem"), key: "/k.pem" });
  assert.deepEqual(config.listeners[1]?.bind_addresses, ["127.0.0.1", "::1"]);
  assert.deepEqual(rateLimitSettings(config)["rc_login.failed_attempts"], {
    perSecond: 0.5,
    burst: DEFAULT_LIMITS["rc_login.failed_attempts"].burst,
  });
  assert.equal(config.default_room_version, "11");
});

test("each mistake is named with its line and key", () => {
  const cases: [string, string][] = [
    [
      "server_name: a b",
      "1 server_name: expected a server name, such as example.org or localhost:8448",
    ],
    ["\n\ndatabse: {}", "3 databse: there is no such setting; did you mean database?"],
    [
      "media:\n  s3:\n    bukket: x",
      "3 media.s3.bukket: there is no such setting; did you mean bucket?",
    ],
    [
      "media:\n  max_upload_size: 5X",
      "2 media.max_upload_size: expected a size such as 512K, 50M or 1G",
    ],
    ["enable_registration: yes", "1 enable_registration: expected true or false"],
    ["rc_message:\n  per_second: fast", "2 rc_message.per_second: expected a number"],
    ["rc_message:\n  burst_count: 1.5", "2 rc_message.burst_count: expected an integer"],
    ["database: x", "1 database: expected keys and values"],
    ["listeners: 8008", "1 listeners: expected a list"],
    ["listeners:\n  - 8008", "2 listeners[0]: expected keys and values"],
    ["listeners:\n  - port: 70000", "2 listeners[0].port: expected a number from 0 to 65535"],
    [
      "listeners:\n  - prot: 1",
      "2 listeners[0].prot: there is no such setting; did you mean port?",
    ],
    [
      "listeners:\n  - resources: [clients]",
      "2 listeners[0].resources: expected one of client, federation, metrics, admin",
    ],
    [
      "listeners:\n  - bind_addresses: [localhost]",
      "2 listeners[0].bind_addresses: expected an IP address",
    ],
    [
      "database:\n  url: mysql://x/y",
      "2 database.url: expected a URL that begins with postgres:// or postgresql://",
    ],
    [
      "federation:\n  ip_range_denylist: [10.0.0.0/33]",
      "2 federation.ip_range_denylist: expected an IP address or range, such as 10.0.0.0/8",
    ],
    ["media:\n  store: disk", "2 media.store: expected one of folder, s3"],
    ["app_service_config_files: a.yaml", "1 app_service_config_files: expected a list"],
    [
      "refreshable_access_token_lifetime: soon",
      "1 refreshable_access_token_lifetime: expected a duration such as 30s, 5m, 1h or 7d",
    ],
    [
      "public_baseurl: example.org",
      "1 public_baseurl: expected a URL that begins with http:// or https://",
    ],
    ["registration_shared_secret: short", "1 registration_shared_secret: too short to be a secret"],
    ["- a", "1 : expected keys and values"],
  ];
  for (const [yaml, expected] of cases) assert.deepEqual(problems(yaml), [expected], yaml);
});

test("all mistakes are told at once, in the order of the file", () => {
  const found = problems("enable_registration: 1\nmedia:\n  store: x\nserver_name: '!'\n");
  assert.deepEqual(
    found.map((text) => text[0]),
    ["1", "3", "4"],
  );
});

test("what is not YAML, or holds a key twice, is told with its line", () => {
  assert.match(problems("a: [1\nb: 2")[0] ?? "", /^[12] : /);
  assert.match(problems("server_name: a\nserver_name: b")[0] ?? "", /^2 : Map keys must be unique/);
});

test("the message names file, line and key", () => {
  assert.throws(() => load("\nlog:\n  level: loud\n"), {
    message: `${join(folder, "gomin.yaml")}:3: log.level: expected one of trace, debug, info, warn, error`,
  });
});

test("what no single key is to blame for is refused", () => {
  const cases: [string, RegExp][] = [
    ["registration_requires_token: false", /anybody in the world/],
    ["media: {store: s3}", /media\.s3\.endpoint: is needed/],
    ["listeners: [{tls: {cert: a}}]", /listeners\[0\]\.tls: needs both/],
    ["listeners: [{trusted_proxies: [10.0.0.1]}]", /means nothing without x_forwarded/],
    ["listeners: [{resources: [client, metrics]}]", /metrics are not for everybody/],
    ["listeners: [{bind_addresses: []}]", /is empty/],
    ["registration_terms: [{id: a}]", /registration_terms\[0\]\.name: is missing/],
    ["support: {contacts: [{role: m.role.admin}]}", /needs a matrix_id or an email_address/],
  ];
  for (const [yaml, expected] of cases) assert.match(problems(yaml).join("\n"), expected, yaml);
  const open =
    "registration_requires_token: false\nenable_registration_without_verification: true\n";
  assert.deepEqual(problems(open), []);
});

test("the environment goes before the file", () => {
  const { config } = load("server_name: a.org\nmedia:\n  max_upload_size: 1M\n", {
    GOMIN_SERVER_NAME: "b.org",
    GOMIN_MEDIA_MAX_UPLOAD_SIZE: "2M",
    GOMIN_RC_LOGIN_ADDRESS_PER_SECOND: "0.25",
    GOMIN_ENABLE_REGISTRATION: "false",
    GOMIN_FEDERATION_DENIED_SERVERS: "[evil.org, bad.org]",
    GOMIN_LISTENERS: '[{port: 80, bind_addresses: ["0.0.0.0"]}]',
    GOMIN_DATABASE_URL: "postgres://u:p%3A@h/d#x: [",
    GOMIN_LOG_LEVEL: "",
  });
  assert.equal(config.server_name, "b.org");
  assert.equal(config.media.max_upload_size, 2 * 1024 * 1024);
  assert.equal(config.rc_login.address.per_second, 0.25);
  assert.equal(config.enable_registration, false);
  assert.deepEqual(config.federation.denied_servers, ["evil.org", "bad.org"]);
  assert.equal(config.listeners[0]?.port, 80);
  assert.deepEqual(config.listeners[0]?.resources, ["client", "federation"]);
  assert.equal(config.database.url, "postgres://u:p%3A@h/d#x: [");
  assert.equal(config.log.level, "info");
});

test("a mistake in the environment names its variable", () => {
  const env = { GOMIN_LISTENERS: "[{port: 1, colour: red}]", GOMIN_ENABLE_REGISTRATION: "maybe" };
  assert.throws(
    () => load("", env),
    (error: Error) =>
      error.message.includes("GOMIN_LISTENERS: listeners[0].colour: there is no such setting") &&
      error.message.includes(
        "GOMIN_ENABLE_REGISTRATION: enable_registration: expected true or false",
      ),
  );
  assert.match(problems("", { GOMIN_LISTENERS: "[{" })[0] ?? "", /is not YAML/);
});

test("a variable that is no setting is warned of", () => {
  const { warnings } = load("", { GOMIN_DATABSE_URL: "x", GOMIN_CONFIG: "y", PATH: "z" });
  assert.deepEqual(warnings, [
    "environment variable GOMIN_DATABSE_URL is no setting; did you mean GOMIN_DATABASE_URL?",
  ]);
});

test("no two settings have the same variable", () => {
  const names = environmentNames(settings);
  assert.equal(new Set(names).size, names.length);
});

test("S23: a secret can stand in a file of its own", () => {
  fs.writeFileSync(join(folder, "secret"), "  the secret\n\n");
  const secretOf = (yaml: string, env = {}): unknown =>
    load(yaml, env).config.registration_shared_secret;
  assert.equal(secretOf("registration_shared_secret_file: secret"), "the secret");
  const env = { GOMIN_REGISTRATION_SHARED_SECRET_FILE: join(folder, "secret") };
  assert.equal(secretOf("", env), "the secret");
  assert.equal(secretOf("registration_shared_secret: from the file", env), "the secret");
  assert.equal(
    secretOf("registration_shared_secret_file: secret", {
      GOMIN_REGISTRATION_SHARED_SECRET: "from outside",
    }),
    "from outside",
  );
  assert.match(
    problems(
      "registration_shared_secret: abcdefgh\nregistration_shared_secret_file: secret",
    ).join(),
    /stands beside/,
  );
  assert.match(problems("registration_shared_secret_file: none").join(), /1 .*cannot be read/);
  assert.match(problems("server_name_file: secret").join(), /there is no such setting/);
});

test("S23: what is shown of the configuration holds no secret", () => {
  const { config } = load(`
registration_shared_secret: planted-1
database: {url: "postgres://user:planted-2@db/gomin?password=planted-3"}
redis: {url: "redis://planted-4@r"}
nats: {url: "nats://u:planted-5@n:4222"}
media: {store: s3, s3: {endpoint: "http://m", bucket: b, access_key: a, secret_key: planted-6}}
`);
  const shown = dumpConfig(config);
  assert.doesNotMatch(shown, /planted/);
  assert.match(shown, /postgres:\/\/user:\*+@db\/gomin/);
});

test("the example is valid, and put into force whole it gives the defaults", () => {
  const example = exampleConfig({ server_name: "localhost" });
  assert.deepEqual(load(example).config, defaults());
  const inForce = example
    .split("\n")
    // Lists that are empty by default show the form of an item, which cannot be empty.
    .filter((_, i, lines) => !/^#(?:registration_terms|support):/.test(sectionOf(lines, i)))
    .map((line) =>
      line.startsWith("# ") && !/^# +(?:#|- |\w+:(?: |$))/.test(line)
        ? line
        : line.replace(/^#/, ""),
    )
    .join("\n");
  assert.notEqual(inForce, example);
  assert.deepEqual(load(inForce).config, defaults());
});

/** The line of a commented section that a line stands in. */
function sectionOf(lines: readonly string[], index: number): string {
  for (let i = index; i >= 0; i -= 1) {
    if (/^#?[a-z]/.test(lines[i] ?? "")) return lines[i] ?? "";
  }
  return "";
}

test("clients are told the public address, or else the first listener's", () => {
  assert.equal(publicBaseUrl(load("public_baseurl: https://m.org").config), "https://m.org/");
  assert.equal(publicBaseUrl(load("public_baseurl: https://m.org/x//").config), "https://m.org/x/");
  assert.equal(publicBaseUrl(defaults()), "http://localhost:8008/");
});

test("a file that is named must be there", () => {
  assert.throws(() => loadConfig({ file: "none.yaml", cwd: folder, env: {} }), ConfigError);
  assert.throws(() => loadConfig({ cwd: folder, env: { GOMIN_CONFIG: "none.yaml" } }), ConfigError);
});

test("the manual's page of settings is current", () => {
  const page = fs.readFileSync(REFERENCE_FILE, "utf8");
  assert.equal(page, renderPage(page), "run: node server/config/reference.ts");
});

test("a slip is told from another word", () => {
  const known = ["server_name", "database", "listeners"];
  assert.equal(suggest("server-name", known), "server_name");
  assert.equal(suggest("Listener", known), "listeners");
  assert.equal(suggest("colour", known), undefined);
});
