/** Pushers: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3pushers */
import { MatrixError } from "../../spec/errors.ts";
import type { UserId } from "../../spec/identifiers.ts";
import type { JsonObject } from "../../spec/shape.ts";
import type { Database, Tx } from "../../storage/database.ts";
import * as pushers from "../../storage/pushers.ts";
import type { Pusher } from "../../storage/pushers.ts";
import type { DeviceDependent } from "../accounts/accounts.ts";
import type { Caller } from "../route.ts";

export type { Pusher } from "../../storage/pushers.ts";

export interface NewPusher {
  appId: string;
  pushkey: string;
  /** `http` is the one kind that is known. */
  kind: string;
  appDisplayName: string;
  deviceDisplayName: string;
  profileTag?: string | undefined;
  lang: string;
  data: JsonObject;
  /** Whether pushers of other users with the same app and key stay. */
  isAppended: boolean;
}

const MAX_PUSHERS = 100;
/** https://spec.matrix.org/v1.19/push-gateway-api/#post_matrixpushv1notify */
const GATEWAY_PATH = "/_matrix/push/v1/notify";

/** A pusher goes with the device whose session made it. */
export class Pushers implements DeviceDependent {
  readonly #database: Pick<Database, "db">;
  readonly #clock: () => number;

  constructor(options: { database: Pick<Database, "db">; clock: () => number }) {
    this.#database = options.database;
    this.#clock = options.clock;
  }

  list(userId: UserId): Promise<Pusher[]> {
    return pushers.list(this.#database.db, userId);
  }

  /**
   * Sets a pusher of the caller, replacing the one with the same app and key.
   *
   * @throws MatrixError M_INVALID_PARAM for a kind or URL that is not allowed, M_FORBIDDEN for too many
   */
  async set(caller: Pick<Caller, "userId" | "deviceId">, pusher: NewPusher): Promise<void> {
    const { userId, deviceId } = caller;
    const { appId, pushkey, kind, data } = pusher;
    if (kind !== "http") {
      throw new MatrixError("M_INVALID_PARAM", "kind: this server pushes by http only");
    }
    checkUrl(data["url"]);
    const row: Pusher = {
      user_id: userId,
      app_id: appId,
      pushkey,
      kind,
      app_display_name: pusher.appDisplayName,
      device_display_name: pusher.deviceDisplayName,
      profile_tag: pusher.profileTag ?? null,
      lang: pusher.lang,
      data,
      device_id: deviceId ?? null,
      created_ts: this.#clock(),
    };
    const known = await this.list(userId);
    const isNew = !known.some((each) => each.app_id === appId && each.pushkey === pushkey);
    if (isNew && known.length >= MAX_PUSHERS) {
      throw new MatrixError("M_FORBIDDEN", `a user has at most ${MAX_PUSHERS} pushers`);
    }
    await this.#database.db.transaction().execute(async (tx) => {
      if (!pusher.isAppended) await pushers.removeOfOthers(tx, row);
      await pushers.put(tx, row);
    });
  }

  async remove(userId: UserId, appId: string, pushkey: string): Promise<void> {
    const key = { user_id: userId, app_id: appId, pushkey };
    await this.#database.db.transaction().execute((tx) => pushers.remove(tx, key));
  }

  async removeDevices(tx: Tx, userId: UserId, deviceIds: readonly string[]): Promise<void> {
    if (deviceIds.length > 0) await pushers.removeOfDevices(tx, userId, deviceIds);
  }
}

function checkUrl(url: unknown): void {
  if (url === undefined) throw new MatrixError("M_MISSING_PARAM", "body.data.url is missing");
  if (typeof url !== "string")
    throw new MatrixError("M_BAD_JSON", "body.data.url: expected a string");
  const parsed = URL.parse(url);
  const problem =
    (parsed === null && "not a URL") ||
    (parsed?.protocol !== "https:" && "not an HTTPS URL") ||
    (parsed?.pathname !== GATEWAY_PATH && `not a URL with the path ${GATEWAY_PATH}`) ||
    (`${parsed?.username}${parsed?.password}` !== "" && "a URL with a user name or password");
  if (problem !== false) throw new MatrixError("M_INVALID_PARAM", `body.data.url: ${problem}`);
}
