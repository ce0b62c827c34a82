/**
 * Tokens of `/sync`: `s<epoch>_<position>_<typing>_<presence>`, and `_<to-device>` where messages to the
 * device are left over. Opaque to clients.
 */
import { createHash } from "node:crypto";
import { MatrixError } from "../../spec/errors.ts";
import type { TopicPosition } from "../ephemeral/ephemeral.ts";

/** How much of a topic of the ephemeral store was told; `run` stands for the store's run ID. */
export interface TopicMark {
  run: string;
  version: number;
}

export interface SyncToken {
  epoch: number;
  position: number;
  typing: TopicMark;
  presence: TopicMark;
  /** Messages to the device were told only up to here. */
  toDevice?: number | undefined;
}

const NUMBER = "([0-9a-z]{1,11})";
const TOPIC = `([0-9a-f]{1,8})\\.${NUMBER}`;
const TOKEN = new RegExp(`^s${NUMBER}_${NUMBER}_${TOPIC}_${TOPIC}(?:_${NUMBER})?$`);

/** Where there is no ephemeral store, or it cannot be reached. */
export const NO_MARK: TopicMark = { run: "0", version: 0 };

export function markOf({ runId, version }: TopicPosition): TopicMark {
  return { run: createHash("sha256").update(runId).digest("hex").slice(0, 8), version };
}

export function writeSyncToken(token: SyncToken): string {
  const { epoch, position, typing, presence, toDevice } = token;
  const parts = [epoch, position].map((number) => number.toString(36));
  for (const { run, version } of [typing, presence]) parts.push(`${run}.${version.toString(36)}`);
  if (toDevice !== undefined) parts.push(toDevice.toString(36));
  return `s${parts.join("_")}`;
}

/** @throws MatrixError M_INVALID_PARAM for what no server of ours ever gave */
export function readSyncToken(token: string): SyncToken {
  const [, epoch, position, typingRun, typing, presenceRun, presence, toDevice] =
    TOKEN.exec(token) ?? [];
  const read: SyncToken = {
    epoch: integer(epoch),
    position: integer(position),
    typing: { run: typingRun ?? "", version: integer(typing) },
    presence: { run: presenceRun ?? "", version: integer(presence) },
  };
  if (toDevice !== undefined) read.toDevice = integer(toDevice);
  return read;
}

function integer(text: string | undefined): number {
  const number = text === undefined ? Number.NaN : parseInt(text, 36);
  if (!Number.isSafeInteger(number)) {
    throw new MatrixError("M_INVALID_PARAM", "since: not a token of this server");
  }
  return number;
}
