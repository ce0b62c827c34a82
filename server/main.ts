/** Puts the parts together. It alone imports every folder, and nothing imports it. */
import { randomBytes, randomUUID } from "node:crypto";
import { accountData as accountDataRoutes } from "../clientapi/account-data.ts";
import { accountManagement } from "../clientapi/account-management.ts";
import { authenticationFallback } from "../clientapi/authentication-fallback.ts";
import { capabilities } from "../clientapi/capabilities.ts";
import { contentRepository } from "../clientapi/content-repository.ts";
import { crossSigning } from "../clientapi/cross-signing.ts";
import { deviceManagement } from "../clientapi/device-management.ts";
import { discovery, wellKnownClient } from "../clientapi/discovery.ts";
import { endToEndEncryption } from "../clientapi/end-to-end-encryption.ts";
import { filtering } from "../clientapi/filtering.ts";
import { keyBackup } from "../clientapi/key-backup.ts";
import { landingPage } from "../clientapi/landing-page.ts";
import { loginFallback } from "../clientapi/login-fallback.ts";
import { notifications } from "../clientapi/notifications.ts";
import { openid } from "../clientapi/openid.ts";
import { presence as presenceRoutes } from "../clientapi/presence.ts";
import { profiles as profileRoutes } from "../clientapi/profiles.ts";
import { pushRules as pushRuleRoutes } from "../clientapi/push-rules.ts";
import { receipts as receiptRoutes } from "../clientapi/receipts.ts";
import { registration } from "../clientapi/registration.ts";
import { roomAliases } from "../clientapi/room-aliases.ts";
import { roomCreation } from "../clientapi/room-creation.ts";
import { roomEvents } from "../clientapi/room-events.ts";
import { roomHistory } from "../clientapi/room-history.ts";
import { roomMembership } from "../clientapi/room-membership.ts";
import { sendToDevice } from "../clientapi/send-to-device.ts";
import { serverAdministration } from "../clientapi/server-administration.ts";
import { sessionManagement } from "../clientapi/session-management.ts";
import { syncing } from "../clientapi/syncing.ts";
import { tags } from "../clientapi/tags.ts";
import { typingNotifications } from "../clientapi/typing-notifications.ts";
import { MatrixError } from "../spec/errors.ts";
import type { UserId } from "../spec/identifiers.ts";
import { openBlobFolder } from "../storage/blobs-folder.ts";
import { openBlobS3 } from "../storage/blobs-s3.ts";
import type { BlobStore } from "../storage/blobs.ts";
import { type ConnectionOptions, isUnavailable, openDatabase } from "../storage/database.ts";
import { startEmbeddedPostgres } from "../storage/embedded-postgres.ts";
import { migrate } from "../storage/migrations.ts";
import { openNids } from "../storage/nids.ts";
import * as storedProfiles from "../storage/profiles.ts";
import { AccountData } from "./account-data/account-data.ts";
import { Filters } from "./account-data/filters.ts";
import { Tags } from "./account-data/tags.ts";
import { type OpenAccounts, openAccounts } from "./accounts/accounts.ts";
import { Rights } from "./accounts/rights.ts";
import { InProcessBus } from "./bus/in-process-bus.ts";
import { connectNatsBus } from "./bus/nats-bus.ts";
import { runCli } from "./cli/cli.ts";
import { type Config, publicBaseUrl, rateLimitSettings } from "./config/config.ts";
import { InProcessStore } from "./ephemeral/in-process-store.ts";
import { connectRedisStore } from "./ephemeral/redis-store.ts";
import { health } from "./health.ts";
import { KeyBackups } from "./key-backup/key-backup.ts";
import { Keys, noRemoteKeys } from "./keys/keys.ts";
import { type Listeners, openListeners } from "./listeners.ts";
import { createLog, type Log } from "./log.ts";
import { Media, type MediaSettings, noRemoteMedia } from "./media/media.ts";
import { openMemberships } from "./memberships/memberships.ts";
import { Presence } from "./presence/presence.ts";
import { Profiles } from "./profiles/profiles.ts";
import { PushRules } from "./push-rules/push-rules.ts";
import { RateLimits } from "./rate-limits/rate-limits.ts";
import { Receipts } from "./receipts/receipts.ts";
import { openRecentRelations, Relations } from "./relations/relations.ts";
import { newRoomId } from "./rooms/ids.ts";
import { Rooms, StateStore } from "./rooms/rooms.ts";
import type { Route } from "./route.ts";
import { loadSigningKey } from "./signing-key.ts";
import { openStream, UnavailableError } from "./stream/stream.ts";
import { createSync } from "./sync/sync.ts";
import { readSyncToken } from "./sync/sync-tokens.ts";
import { Pages } from "./timeline/pages.ts";
import { startTelemetry } from "./telemetry.ts";
import { createTimeline } from "./timeline/timeline.ts";
import { ToDevice } from "./to-device/to-device.ts";
import { Typing } from "./typing/typing.ts";
import { openUnread } from "./unread/unread.ts";
import { VERSION } from "./version.ts";

export interface HomeserverOptions {
  config: Config;
  /** The database; the configuration's, or the embedded one, where it is absent. */
  database?: ConnectionOptions;
  log?: Log;
  /** ms since the epoch. */
  clock?: () => number;
}

export interface Homeserver extends AsyncDisposable {
  readonly listeners: Listeners["bound"];
  readonly routes: readonly Route[];
  readonly accounts: OpenAccounts["accounts"];
  readonly registrationTokens: OpenAccounts["registrationTokens"];
}

/** Starts a homeserver; disposing of it stops everything in the reverse order. */
export async function startHomeserver(options: HomeserverOptions): Promise<Homeserver> {
  const { config, clock = Date.now } = options;
  const log = options.log ?? createLog({ level: config.log.level });
  const onError = (error: unknown): void => log.error({ err: error }, "background work failed");
  const serverName = config.server_name;
  const isLocal = (name: string): boolean => name === serverName;
  const managedProfileFields = [
    ...(config.enable_set_displayname ? [] : ["displayname"]),
    ...(config.enable_set_avatar_url ? [] : ["avatar_url"]),
  ];
  const wellKnown = {
    publicBaseUrl: publicBaseUrl(config),
    extraClientContent: config.extra_well_known_client_content,
  };
  let isStopping = false;
  await using stack = new AsyncDisposableStack();

  const telemetry = stack.use(
    await startTelemetry({
      otel: config.otel,
      hasMetrics: config.listeners.some(({ resources }) => resources.includes("metrics")),
      version: VERSION,
    }),
  );
  const connection = options.database ?? (await connectionOf(config, log, stack));
  const database = stack.use(
    openDatabase({ ...connection, max: config.database.max_connections }, onError),
  );
  await migrate(database);
  const bus = stack.use(
    config.nats.url === undefined
      ? new InProcessBus(onError)
      : await connectNatsBus({ url: config.nats.url, serverName, log }),
  );
  const ephemeral = stack.use(
    config.redis.url === undefined
      ? new InProcessStore({ onError })
      : await connectRedisStore({ url: config.redis.url, serverName, log }),
  );
  const stream = stack.use(await openStream({ database, bus, processId: randomUUID(), onError }));
  const rateLimits = new RateLimits(ephemeral, {
    enabled: config.enable_rate_limits,
    limits: rateLimitSettings(config),
  });
  const rights = stack.use(new Rights({ database, stream }));
  const nids = openNids(database);
  const states = new StateStore(database, nids);
  const pushRules = new PushRules({ database, stream });
  const accountData = new AccountData({ database, stream, generated: [pushRules.generated] });
  const rooms = stack.use(
    new Rooms({
      database,
      stream,
      nids,
      states,
      signer: { serverName, key: await loadSigningKey(config.signing_key_path) },
      serverName,
      defaultVersion: config.default_room_version,
      clock,
      newRoomId: () => newRoomId(serverName, randomBytes),
      isLocal,
      findProfile: async (userId) =>
        (await storedProfiles.listNames(database.db, [userId])).get(userId) ?? {},
      assertMayAct: (userId, act) => rights.assertMayAct(userId, act),
      isAdmin: (userId) => rights.isAdmin(userId),
      async blocksInvites(userId) {
        const type = "m.invite_permission_config";
        return (await accountData.find({ userId, type }))?.["default_action"] === "block";
      },
    }),
  );
  const memberships = stack.use(openMemberships({ database, stream }));
  const recentRelations = stack.use(openRecentRelations(stream));
  const timeline = stack.use(
    createTimeline({
      database,
      stream,
      memberships,
      states,
      findAccountData: (userId, type) => accountData.find({ userId, type }),
      bundles: (shown) => new Relations({ database, timeline: shown, recent: recentRelations }),
      clock,
    }),
  );
  const pages = new Pages({ database, states, timeline });
  const relations = new Relations({ database, timeline, recent: recentRelations });

  const keys = stack.use(
    new Keys({ database, stream, memberships, isLocal, remote: noRemoteKeys, onError }),
  );
  const toDevice = stack.use(new ToDevice({ database, stream, isLocal, clock, onError }));
  const filters = new Filters(database);
  const profiles = stack.use(
    new Profiles({
      database,
      stream,
      isLocal,
      rooms: {
        updateMemberProfiles: (userId, names) => rooms.membership.updateProfile(userId, names),
      },
      managedFields: managedProfileFields,
      onError,
    }),
  );
  const accounts = stack.use(
    openAccounts({
      settings: {
        registration: {
          serverName,
          isEnabled: config.enable_registration,
          requiresToken: config.registration_requires_token,
          allowsGuests: false,
          policies: policiesOf(config),
        },
        registrationSharedSecret: config.registration_shared_secret,
        passwordsEnabled: config.password_config.enabled,
        passwordPolicy: config.password_config.policy,
        refreshableLifetimeMs: config.refreshable_access_token_lifetime,
      },
      database,
      stream,
      rateLimits,
      isLocal,
      rooms: { leaveAllRooms: (userId) => rooms.membership.leaveAll(userId) },
      keys,
      dependents: [keys, toDevice],
      onError,
      clock,
    }),
  );
  const presence = config.presence.enabled
    ? stack.use(new Presence({ store: ephemeral, memberships, stream, isLocal, clock, onError }))
    : undefined;
  const onActivity = (userId: UserId): void => presence?.noteActivity(userId);
  const receipts = new Receipts({
    database,
    stream,
    memberships,
    timeline,
    accountData,
    onActivity,
    clock,
  });
  const typing = stack.use(
    new Typing({ store: ephemeral, memberships, stream, onActivity, onError }),
  );
  const unread = stack.use(
    await openUnread({ database, stream, rooms, timeline, isLocal, clock, onError }),
  );
  const sync = stack.use(
    createSync({
      database,
      stream,
      ephemeral,
      memberships,
      timeline,
      states,
      filters,
      accountData: pushRules.among(accountData),
      toDevice,
      deviceLists: keys.deviceLists,
      keyCounts: keys.counts,
      receipts,
      unread,
      typing,
      presence,
      assertSession: (caller) => accounts.sessions.assertAlive(caller),
      onError,
    }),
  );

  const media = stack.use(
    new Media({
      settings: mediaSettings(config),
      database,
      blobs: stack.use(blobStoreOf(config)),
      remote: noRemoteMedia,
      isLocal,
      clock,
      random: randomBytes,
      onError,
    }),
  );

  const routes: Route[] = [
    ...landingPage({
      serverName,
      publicBaseUrl: wellKnown.publicBaseUrl,
      registration: registrationState(config),
    }),
    ...discovery({ ...wellKnown, support: config.support }),
    ...capabilities({
      defaultRoomVersion: config.default_room_version,
      passwordsEnabled: config.password_config.enabled,
      managedProfileFields,
    }),
    ...registration(accounts),
    ...sessionManagement({
      ...accounts,
      wellKnown: config.public_baseurl === undefined ? undefined : wellKnownClient(wellKnown),
    }),
    ...loginFallback(),
    ...authenticationFallback(accounts.interactiveAuth),
    ...accountManagement({ ...accounts, passwordsEnabled: config.password_config.enabled }),
    ...deviceManagement(accounts),
    ...serverAdministration(accounts),
    ...openid(accounts.openId),
    ...profileRoutes(profiles),
    ...accountDataRoutes(accountData),
    ...tags(new Tags(accountData)),
    ...filtering(filters),
    ...roomCreation(rooms),
    ...roomMembership(rooms),
    ...roomEvents({
      messages: rooms.messages,
      membership: rooms.membership,
      reads: rooms.reads,
      clientEvents: timeline.clientEvents,
    }),
    ...roomHistory({ pages, relations, clientEvents: timeline.clientEvents }),
    ...roomAliases(rooms.aliases),
    ...endToEndEncryption({
      keys,
      readPosition(token) {
        const { epoch, position } = readSyncToken(token);
        return epoch === stream.epoch ? position : 0;
      },
    }),
    ...crossSigning({ keys, interactiveAuth: accounts.interactiveAuth }),
    ...sendToDevice(toDevice),
    ...keyBackup(new KeyBackups({ database })),
    ...contentRepository(media),
    ...(presence === undefined ? [] : presenceRoutes(presence)),
    ...receiptRoutes(receipts),
    ...typingNotifications(typing),
    ...pushRuleRoutes(pushRules),
    ...notifications(unread),
    ...syncing(sync),
  ];
  const listeners: Listeners = stack.use(
    await openListeners({
      listeners: config.listeners,
      routes: { client: routes, federation: [], metrics: telemetry.routes, admin: [] },
      commonRoutes: health({
        dependencies: [{ name: "database", check: () => database.pool.query("select 1") }],
        isStopping: () => isStopping,
      }),
      authenticate: (token, use) => accounts.sessions.authenticate(token, use),
      rateLimits,
      log,
      translate,
    }),
  );
  const owned = stack.move();
  return {
    listeners: listeners.bound,
    routes,
    accounts: accounts.accounts,
    registrationTokens: accounts.registrationTokens,
    async [Symbol.asyncDispose]() {
      isStopping = true;
      await owned[Symbol.asyncDispose]();
    },
  };
}

/** Where media are kept; the configuration's check has a bucket complete. */
function blobStoreOf({ media }: Config): BlobStore {
  if (media.store === "folder") return openBlobFolder(media.path);
  const { endpoint = "", bucket = "", access_key = "", secret_key = "", prefix } = media.s3;
  return openBlobS3({
    endpoint,
    region: media.s3.region,
    bucket,
    accessKey: access_key,
    secretKey: secret_key,
    ...(prefix === undefined ? {} : { prefix }),
    pathStyle: media.s3.path_style,
  });
}

function mediaSettings(config: Config): MediaSettings {
  const { server_name, media } = config;
  return {
    serverName: server_name,
    maxUploadBytes: media.max_upload_size,
    maxImagePixels: media.max_image_pixels,
    maxPendingUploads: media.max_pending_media_uploads,
    unusedExpirationMs: media.unused_expiration_time,
    requiresAuthentication: config.enable_authenticated_media,
  };
}

function registrationState(config: Config): "closed" | "by token" | "open" {
  if (!config.enable_registration) return "closed";
  return config.registration_requires_token ? "by token" : "open";
}

/** The configured database, or the embedded one, which is started. */
async function connectionOf(
  config: Config,
  log: Log,
  stack: AsyncDisposableStack,
): Promise<ConnectionOptions> {
  if (config.database.url !== undefined) return { url: config.database.url };
  const postgres = stack.use(
    await startEmbeddedPostgres({
      dataDir: config.data_dir,
      onProgress: (message) => log.info(message),
      onProblem: (message, error) => log.warn({ err: error }, message),
    }),
  );
  return postgres.connection;
}

/** The documents that new users agree to; the configuration's check has each complete. */
function policiesOf(
  config: Config,
): Parameters<typeof openAccounts>[0]["settings"]["registration"]["policies"] {
  return config.registration_terms.map(({ id = "", name = "", url = "", version, language }) => ({
    id,
    name,
    url,
    version,
    language,
  }));
}

/** A database that is away is the server's trouble, and passes. */
function translate(error: unknown): MatrixError | undefined {
  if (error instanceof UnavailableError || isUnavailable(error)) {
    return new MatrixError("M_UNKNOWN", "the server's database is away; try again", {
      status: 503,
      cause: error,
    });
  }
  return undefined;
}

if (import.meta.main) {
  process.exitCode = await runCli(process.argv.slice(2), { version: VERSION, startHomeserver });
}
