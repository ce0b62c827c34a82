/**
 * Every setting, with its meaning and default: what the reader, the manual and `gomin init` go by.
 *
 * Names are Synapse's where the meaning is the same. To add a setting, add it here and run
 * `node server/config/reference.ts`, which writes docs/configuration.md.
 */
import { isIP } from "node:net";
import { isServerName } from "../../spec/identifiers.ts";
import { DEFAULT_LIMITS } from "../rate-limits/rate-limits.ts";
import {
  anyMap,
  choice,
  choices,
  duration,
  flag,
  InvalidSetting,
  list,
  number,
  path,
  paths,
  section,
  size,
  text,
  texts,
} from "./schema.ts";

/** Addresses that nobody may make the server call: its own machine and network, and what is nowhere. */
const PRIVATE_RANGES = [
  "0.0.0.0/8",
  "10.0.0.0/8",
  "100.64.0.0/10",
  "127.0.0.0/8",
  "169.254.0.0/16",
  "172.16.0.0/12",
  "192.0.0.0/24",
  "192.0.2.0/24",
  "192.88.99.0/24",
  "192.168.0.0/16",
  "198.18.0.0/15",
  "198.51.100.0/24",
  "203.0.113.0/24",
  "224.0.0.0/4",
  "240.0.0.0/4",
  "::/128",
  "::1/128",
  "100::/64",
  "2001:db8::/32",
  "fc00::/7",
  "fe80::/10",
  "fec0::/10",
  "ff00::/8",
] as const;

export const settings = section("", {
  server_name: text({
    doc: "The domain of user IDs and rooms, as in `@alice:example.org`. It can never change once there are accounts.",
    fallback: "localhost",
    type: "server name",
    check: checkServerName,
  }),
  public_baseurl: text({
    doc: "The address by which clients reach the server from outside, such as `https://matrix.example.org/`. Without it the first listener's is told.",
    fallback: undefined,
    type: "http or https URL",
    check: (value) => checkUrl(value, ["http:", "https:"]),
  }),
  data_dir: path({
    doc: "The folder of all that the server keeps: the embedded database, media, keys.",
    fallback: "data",
  }),
  signing_key_path: path({
    doc: "The key that signs events. It is made at the first start; keep a copy in a safe place.",
    fallback: "{data_dir}/{server_name}.signing.key",
  }),
  listeners: list(
    "Where the server listens.",
    {
      port: number({ doc: "The TCP port.", fallback: 8008, min: 0, max: 65_535 }),
      bind_addresses: texts({
        doc: "The addresses to listen on. `0.0.0.0` and `::` stand for all.",
        fallback: ["127.0.0.1", "::1"],
        check: checkAddress,
        type: "list of IP addresses",
      }),
      tls: section("Serves HTTPS by itself, without a proxy before it.", {
        cert: path({ doc: "The certificate with its chain, PEM.", fallback: undefined }),
        key: path({ doc: "Its private key, PEM.", fallback: undefined }),
      }),
      x_forwarded: flag({
        doc: "Whether a proxy stands before it, whose `X-Forwarded-For` names the client. Never set it where clients connect directly.",
        fallback: false,
      }),
      trusted_proxies: texts({
        doc: "With `x_forwarded`: the addresses of the proxies. By default any private address.",
        fallback: undefined,
        check: checkRange,
        type: "list of IP ranges",
      }),
      resources: choices(["client", "federation", "metrics", "admin"], {
        doc: "What is served there. Give `metrics` a port that only your monitoring reaches.",
        fallback: ["client", "federation"],
      }),
    },
    [{}],
  ),
  database: section("PostgreSQL. Without a URL the program starts its own in `data_dir`.", {
    url: text({
      doc: "Such as `postgres://gomin:password@localhost/gomin`.",
      fallback: undefined,
      isSecret: true,
      type: "postgres URL",
      check: (value) => checkUrl(value, ["postgres:", "postgresql:"]),
    }),
    max_connections: number({
      doc: "Most connections that one process opens.",
      fallback: 20,
      min: 4,
      max: 1000,
    }),
  }),
  redis: section("Shares typing, presence and rate limits between several processes.", {
    url: text({
      doc: "Such as `redis://:password@localhost:6379/0`; `rediss:` for TLS. Without it they live in the process.",
      fallback: undefined,
      isSecret: true,
      type: "redis URL",
      check: (value) => checkUrl(value, ["redis:", "rediss:"]),
    }),
  }),
  nats: section("Tells several processes of each other's news.", {
    url: text({
      doc: "Such as `nats://user:password@localhost:4222`; `tls:` for TLS. Without it there may be one process only.",
      fallback: undefined,
      isSecret: true,
      type: "nats URL",
      check: (value) => checkUrl(value, ["nats:", "tls:"]),
    }),
  }),
  enable_authenticated_media: flag({
    doc: "Whether new media are for users that are logged in only, as the specification asks. Old clients may need false.",
    fallback: true,
  }),
  media: section("Files that users upload.", {
    store: choice(["folder", "s3"], { doc: "Where they are kept.", fallback: "folder" }),
    path: path({ doc: "The folder, with `store: folder`.", fallback: "{data_dir}/media" }),
    s3: section("The bucket, with `store: s3`.", {
      endpoint: text({
        doc: "The server's address, such as `https://s3.eu-central-1.amazonaws.com`.",
        fallback: undefined,
        type: "http or https URL",
        check: (value) => checkUrl(value, ["http:", "https:"]),
      }),
      region: text({ doc: "Its region.", fallback: "us-east-1" }),
      bucket: text({ doc: "The bucket's name.", fallback: undefined }),
      access_key: text({ doc: "The name of the access key.", fallback: undefined }),
      secret_key: text({ doc: "The access key itself.", fallback: undefined, isSecret: true }),
      prefix: text({ doc: "What all object names begin with.", fallback: undefined }),
      path_style: flag({
        doc: "Whether the bucket stands in the path instead of the host name, as MinIO wants it.",
        fallback: true,
      }),
    }),
    max_upload_size: size({ doc: "Largest upload.", fallback: 50 * 1024 * 1024 }),
    max_image_pixels: number({
      doc: "Largest image, in pixels, that thumbnails are made of.",
      fallback: 32 * 1024 * 1024,
    }),
    max_pending_media_uploads: number({
      doc: "Most media that one user may have created without uploading them.",
      fallback: 5,
    }),
    unused_expiration_time: duration({
      doc: "How long created media may wait for their upload.",
      fallback: 24 * 3_600_000,
    }),
  }),
  enable_registration: flag({
    doc: "Whether accounts may be made over the network.",
    fallback: true,
  }),
  registration_requires_token: flag({
    doc: "Whether making an account takes a registration token (`gomin token create`).",
    fallback: true,
  }),
  enable_registration_without_verification: flag({
    doc: "Must be set to let anybody in the world make accounts, with `registration_requires_token: false`.",
    fallback: false,
  }),
  registration_shared_secret: text({
    doc: "Lets who knows it make accounts, with `register_new_matrix_user` and the like.",
    fallback: undefined,
    isSecret: true,
    check(value) {
      if (value.length < 8) throw new InvalidSetting("too short to be a secret");
    },
  }),
  registration_terms: list("Documents that a new user must agree to.", {
    id: text({ doc: "A name for the document, such as `privacy_policy`.", fallback: undefined }),
    version: text({ doc: "Its version.", fallback: "1.0" }),
    language: text({ doc: "Its language.", fallback: "en" }),
    name: text({ doc: "Its title.", fallback: undefined }),
    url: text({
      doc: "Where it can be read.",
      fallback: undefined,
      type: "http or https URL",
      check: (value) => checkUrl(value, ["http:", "https:"]),
    }),
  }),
  password_config: section("Passwords.", {
    enabled: flag({ doc: "Whether users log in with a password.", fallback: true }),
    policy: section("What a new password must have.", {
      minimum_length: number({ doc: "Fewest characters.", fallback: 8, min: 1, max: 512 }),
      require_digit: flag({ doc: "A digit.", fallback: false }),
      require_symbol: flag({ doc: "A character that is no letter and no digit.", fallback: false }),
      require_lowercase: flag({ doc: "A small letter.", fallback: false }),
      require_uppercase: flag({ doc: "A capital letter.", fallback: false }),
    }),
  }),
  refreshable_access_token_lifetime: duration({
    doc: "How long an access token is good that can be refreshed.",
    fallback: 5 * 60_000,
  }),
  enable_set_displayname: flag({
    doc: "Whether users may change their display name.",
    fallback: true,
  }),
  enable_set_avatar_url: flag({ doc: "Whether users may change their avatar.", fallback: true }),
  default_room_version: text({ doc: "The version of new rooms.", fallback: "12" }),
  presence: section("Who is online.", {
    enabled: flag({ doc: "Whether presence is kept and shown.", fallback: true }),
  }),
  app_service_config_files: paths({
    doc: "Registration files of application services, such as bridges.",
    fallback: [],
  }),
  extra_well_known_client_content: anyMap({
    doc: "Further members of `/.well-known/matrix/client`.",
    fallback: {},
  }),
  support: section("Who helps users, told by `/.well-known/matrix/support`.", {
    page: text({
      doc: "A page with help.",
      fallback: undefined,
      type: "http or https URL",
      check: (value) => checkUrl(value, ["http:", "https:"]),
    }),
    contacts: list("People to write to.", {
      role: text({ doc: "`m.role.admin` or `m.role.security`.", fallback: "m.role.admin" }),
      matrix_id: text({ doc: "A user ID.", fallback: undefined }),
      email_address: text({ doc: "An e-mail address.", fallback: undefined }),
    }),
  }),
  federation: section("Talking with other homeservers.", {
    enabled: flag({ doc: "Whether there is any.", fallback: true }),
    verify_certificates: flag({
      doc: "Whether other servers must prove who they are. Only ever `false` in tests.",
      fallback: true,
    }),
    custom_ca: paths({
      doc: "Certificates, PEM, of further authorities to trust.",
      fallback: [],
    }),
    allowed_servers: texts({
      doc: "If set, only these servers are talked with.",
      fallback: undefined,
      check: checkServerName,
      type: "list of server names",
    }),
    denied_servers: texts({
      doc: "Servers that are not talked with.",
      fallback: [],
      check: checkServerName,
      type: "list of server names",
    }),
    ip_range_denylist: texts({
      doc: "Addresses that the server never connects to on behalf of others.",
      fallback: PRIVATE_RANGES,
      check: checkRange,
      type: "list of IP ranges",
    }),
    ip_range_allowlist: texts({
      doc: "Exceptions from the denylist.",
      fallback: [],
      check: checkRange,
      type: "list of IP ranges",
    }),
    trusted_key_servers: texts({
      doc: "Servers that are asked for the keys of servers that do not answer.",
      fallback: ["matrix.org"],
      check: checkServerName,
      type: "list of server names",
    }),
  }),
  enable_rate_limits: flag({
    doc: "`false` turns all rate limits off, for tests and closed networks.",
    fallback: true,
  }),
  rc_message: rateLimit("rc_message", "Sending, by user."),
  rc_registration: rateLimit("rc_registration", "Registration, by address."),
  rc_registration_token_validity: rateLimit(
    "rc_registration_token_validity",
    "Asking whether a registration token is good, by address.",
  ),
  rc_login: section("Logging in.", {
    address: rateLimit("rc_login.address", "By address."),
    account: rateLimit("rc_login.account", "By account."),
    failed_attempts: rateLimit("rc_login.failed_attempts", "By account, failures only."),
  }),
  rc_admin_redaction: rateLimit("rc_admin_redaction", "Redactions by moderators."),
  rc_joins: section("Joining rooms.", {
    local: rateLimit("rc_joins.local", "Rooms that the server is in, by user."),
    remote: rateLimit("rc_joins.remote", "Other rooms, by user."),
  }),
  rc_joins_per_room: rateLimit("rc_joins_per_room", "Joins to one room."),
  rc_3pid_validation: rateLimit("rc_3pid_validation", "Validating addresses of people."),
  rc_invites: section("Invites.", {
    per_room: rateLimit("rc_invites.per_room", "To one room."),
    per_user: rateLimit("rc_invites.per_user", "To one user."),
    per_issuer: rateLimit("rc_invites.per_issuer", "By one user."),
  }),
  rc_presence: section("Presence.", {
    per_user: rateLimit("rc_presence.per_user", "Changes by one user."),
  }),
  rc_media_create: rateLimit("rc_media_create", "Creating media, by user."),
  rc_room_creation: rateLimit("rc_room_creation", "Creating rooms, by user."),
  rc_user_directory: rateLimit("rc_user_directory", "Searching users, by user."),
  rc_reports: rateLimit("rc_reports", "Reporting content, by user."),
  rc_key_requests: rateLimit("rc_key_requests", "Asking for and claiming keys, by user."),
  log: section("The log, on standard output: a line for each request, and for what matters.", {
    format: choice(["auto", "json", "text"], {
      doc: "Lines of JSON, or of text for people; `auto` is text on a terminal.",
      fallback: "auto",
    }),
    level: choice(["trace", "debug", "info", "warn", "error"], {
      doc: "What is logged.",
      fallback: "info",
    }),
  }),
  otel: section("Traces, sent by the OpenTelemetry protocol.", {
    endpoint: text({
      doc: "Where they are sent, such as `http://localhost:4318/v1/traces`. Without it there are none.",
      fallback: undefined,
      type: "http or https URL",
      check: (value) => checkUrl(value, ["http:", "https:"]),
    }),
    service_name: text({ doc: "The name that the server has in them.", fallback: "gomin" }),
    sample_ratio: number({
      doc: "The share of requests that are traced, from 0 to 1.",
      fallback: 0.1,
      max: 1,
      isInteger: false,
    }),
  }),
});

function rateLimit(name: keyof typeof DEFAULT_LIMITS, doc: string) {
  const { perSecond, burst } = DEFAULT_LIMITS[name];
  return section(doc, {
    per_second: number({
      doc: "How many a second in the long run.",
      fallback: perSecond,
      max: 1_000_000,
      isInteger: false,
    }),
    burst_count: number({ doc: "How many at once.", fallback: burst, max: 1_000_000 }),
  });
}

function checkServerName(value: string): void {
  if (!isServerName(value)) {
    throw new InvalidSetting("expected a server name, such as example.org or localhost:8448");
  }
}

function checkUrl(value: string, protocols: readonly string[]): void {
  const url = URL.parse(value);
  if (url === null || !protocols.includes(url.protocol)) {
    const starts = protocols.map((protocol) => `${protocol}//`).join(" or ");
    throw new InvalidSetting(`expected a URL that begins with ${starts}`);
  }
}

function checkAddress(value: string): void {
  if (isIP(value) === 0) throw new InvalidSetting("expected an IP address");
}

function checkRange(value: string): void {
  const [address = "", bits, ...more] = value.split("/");
  const family = isIP(address);
  const isGood =
    family !== 0 &&
    more.length === 0 &&
    (bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= (family === 6 ? 128 : 32)));
  if (!isGood) throw new InvalidSetting("expected an IP address or range, such as 10.0.0.0/8");
}
