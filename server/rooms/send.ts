/**
 * Sending events into a room:
 * https://spec.matrix.org/v1.19/client-server-api/#sending-events-to-a-room
 */
import { LRUCache } from "lru-cache";
import { MatrixError } from "../../spec/errors.ts";
import {
  type EventId,
  isEventId,
  isRoomAlias,
  type RoomId,
  type ServerName,
  type UserId,
} from "../../spec/identifiers.ts";
import { isObject, type JsonObject } from "../../spec/shape.ts";
import type { Database } from "../../storage/database.ts";
import * as events from "../../storage/events.ts";
import * as roomAliases from "../../storage/room-aliases.ts";
import type { EventDraft, EventWriter, Plan, TransactionKey } from "./event-writer.ts";
import { relationOf } from "./event-batch.ts";
import type { RoomHead } from "./room-head.ts";
import { aliasesIn, checkState } from "./state-checks.ts";

export interface NewMessage {
  roomId: RoomId;
  sender: UserId;
  type: string;
  content: JsonObject;
  /** Absent for an application service's timestamped send and for what the server sends itself. */
  transaction?: Pick<TransactionKey, "deviceId" | "txnId">;
  originServerTs?: number;
}

export interface NewStateEvent {
  roomId: RoomId;
  sender: UserId;
  type: string;
  stateKey: string;
  content: JsonObject;
  originServerTs?: number;
}

export interface NewRedaction {
  roomId: RoomId;
  sender: UserId;
  redacts: EventId;
  content: JsonObject;
  transaction?: Pick<TransactionKey, "deviceId" | "txnId">;
}

interface Deps {
  writer: EventWriter;
  database: Pick<Database, "db">;
  serverName: ServerName;
  /** @throws MatrixError where the user may not act: suspended, locked, deactivated */
  assertMayAct(userId: UserId, act?: { evenSuspended: boolean }): Promise<void>;
  /** Whether the user is an administrator of this server. */
  isAdmin(userId: UserId): Promise<boolean>;
  isLocal(serverName: ServerName): boolean;
}

/** Transaction IDs that are remembered without asking the database. */
const REMEMBERED = 100_000;

/** State that redacted would mean another thing: no version nor type, and no server allowed. */
const LASTING: ReadonlySet<string> = new Set(["m.room.create", "m.room.server_acl"]);

export class Sending {
  readonly #deps: Deps;
  readonly #transactions = new LRUCache<string, EventId>({ max: REMEMBERED });

  constructor(deps: Deps) {
    this.#deps = deps;
  }

  /**
   * Sends a message event.
   *
   * @throws MatrixError M_FORBIDDEN, M_NOT_FOUND, M_TOO_LARGE, M_DUPLICATE_ANNOTATION
   */
  async send(message: NewMessage): Promise<EventId> {
    const { roomId, sender, type, content, originServerTs } = message;
    if (type === "m.room.redaction") {
      const { redacts, ...rest } = content;
      if (typeof redacts !== "string") {
        throw new MatrixError("M_MISSING_PARAM", "body.redacts is missing");
      }
      if (!isEventId(redacts)) throw new MatrixError("M_INVALID_PARAM", "not an event ID");
      return this.redact({ ...message, redacts, content: rest });
    }
    await this.#deps.assertMayAct(sender);
    return this.#once(
      roomId,
      sender,
      scopeOf("send", roomId, type),
      message.transaction,
      async () => {
        await this.#refuseDuplicateAnnotation(message);
        return {
          type,
          sender,
          content,
          ...(originServerTs === undefined ? {} : { originServerTs }),
        };
      },
    );
  }

  /**
   * Sets room state. What is there already is not sent again.
   *
   * Memberships come through here only when the caller has judged them.
   *
   * @throws MatrixError M_FORBIDDEN, M_NOT_FOUND, M_TOO_LARGE, M_INVALID_PARAM, M_BAD_ALIAS
   */
  async setState(state: NewStateEvent): Promise<EventId> {
    const { roomId, sender, type, stateKey, content, originServerTs } = state;
    await this.#deps.assertMayAct(sender);
    if (type === "m.room.create") {
      throw new MatrixError("M_FORBIDDEN", "a room has one m.room.create event, its first");
    }
    let existing: EventId | undefined;
    const [written] = await this.#deps.writer.write(roomId, async (head) => {
      existing = undefined;
      const before = await head.stateEvent(type, stateKey);
      if (before !== undefined && isSame(before.pdu.content, content)) {
        if ((await head.membershipOf(sender)) === "join" && before.pdu.sender === sender) {
          existing = before.eventId;
          return { drafts: [] };
        }
      }
      await this.#checkState(head, { type, content }, before?.pdu.content);
      const draft: EventDraft = { type, sender, content, stateKey };
      if (originServerTs !== undefined) draft.originServerTs = originServerTs;
      return { drafts: [draft] };
    });
    const eventId = existing ?? written?.eventId;
    if (eventId === undefined) throw new Error("nothing was written");
    return eventId;
  }

  /**
   * Redacts an event. A suspended user may redact what is their own; nobody the create event or an ACL.
   *
   * @throws MatrixError M_NOT_FOUND where the room has no such event, M_FORBIDDEN
   */
  async redact(redaction: NewRedaction): Promise<EventId> {
    const { roomId, sender, redacts, content, transaction } = redaction;
    await this.#deps.assertMayAct(sender, { evenSuspended: true });
    const scope = scopeOf("redact", roomId, redacts);
    return this.#once(roomId, sender, scope, transaction, async (head) => {
      if ((await head.membershipOf(sender)) !== "join") {
        throw new MatrixError("M_FORBIDDEN", "not in the room");
      }
      const target = await events.findById(this.#deps.database.db, redacts);
      if (target === undefined || target.roomId !== roomId || target.rejected !== undefined) {
        throw new MatrixError("M_NOT_FOUND", "no such event in the room");
      }
      if (target.sender !== sender) await this.#deps.assertMayAct(sender);
      if (LASTING.has(target.type) && target.stateKey === "") {
        throw new MatrixError("M_FORBIDDEN", `an event of type ${target.type} is not redacted`);
      }
      const levels = await head.powerLevels();
      const mayRedactOthers =
        levels.powerOf(sender) >= levels.redact ||
        (this.#isOurs(target.sender) && (await this.#deps.isAdmin(sender)));
      if (target.sender !== sender && !mayRedactOthers) {
        throw new MatrixError("M_FORBIDDEN", "redacting another's event takes the power to redact");
      }
      return { type: "m.room.redaction", sender, content, redacts };
    });
  }

  #isOurs(userId: UserId): boolean {
    return this.#deps.isLocal(userId.slice(userId.indexOf(":") + 1));
  }

  /** Sends one event, or finds the one that the same transaction ID gave before. */
  async #once(
    roomId: RoomId,
    sender: UserId,
    scope: string,
    transaction: Pick<TransactionKey, "deviceId" | "txnId"> | undefined,
    draft: (head: RoomHead) => Promise<EventDraft>,
  ): Promise<EventId> {
    const key = transaction === undefined ? undefined : { ...transaction, userId: sender, scope };
    const remembered = key === undefined ? undefined : this.#transactions.get(nameOf(key));
    if (remembered !== undefined) return remembered;
    const find = async () =>
      key === undefined ? undefined : events.findTransaction(this.#deps.database.db, key);
    let existing: EventId | undefined;
    let attempt = 0;
    const plan = async (head: RoomHead): Promise<Plan> => {
      // The first time the unique key of transactions judges, which saves a query; a loser looks.
      existing = attempt++ === 0 ? undefined : await find();
      if (existing !== undefined) return { drafts: [] };
      return {
        drafts: [await draft(head)],
        ...(key === undefined ? {} : { transaction: key }),
      };
    };
    let eventId: EventId | undefined;
    try {
      const [written] = await this.#deps.writer.write(roomId, plan);
      eventId = existing ?? written?.eventId;
    } catch (error) {
      // A retry of what was sent is answered as it was, though it may be forbidden by now.
      eventId = error instanceof MatrixError ? await find() : undefined;
      if (eventId === undefined) throw error;
    }
    if (eventId === undefined) throw new Error("nothing was written");
    if (key !== undefined) this.#transactions.set(nameOf(key), eventId);
    return eventId;
  }

  /** https://spec.matrix.org/v1.19/client-server-api/#avoiding-duplicate-annotations */
  async #refuseDuplicateAnnotation({ roomId, sender, type, content }: NewMessage): Promise<void> {
    const relation = relationOf(content);
    if (relation?.relType !== "m.annotation") return;
    const found = await events.listRelations(this.#deps.database.db, relation.eventId, {
      relType: "m.annotation",
      type,
      sender,
    });
    const isDuplicate = found.some(
      (event) =>
        event.roomId === roomId &&
        event.redactedBy === undefined &&
        relationOf(events.contentOf(event))?.key === relation.key,
    );
    if (isDuplicate) {
      throw new MatrixError("M_DUPLICATE_ANNOTATION", "the same annotation was sent before");
    }
  }

  /** What a server checks of state that its own users set. */
  async #checkState(
    head: RoomHead,
    { type, content }: { type: string; content: JsonObject },
    before: JsonObject | undefined,
  ): Promise<void> {
    if (type === "m.room.canonical_alias") await this.#checkAliases(head, content, before);
    checkState({ type, content }, { version: head.version, serverName: this.#deps.serverName });
  }

  /** New aliases are well-formed and point here. */
  async #checkAliases(
    head: RoomHead,
    content: JsonObject,
    before: JsonObject | undefined,
  ): Promise<void> {
    const known = new Set(before === undefined ? [] : aliasesIn(before));
    for (const alias of aliasesIn(content)) {
      if (known.has(alias)) continue;
      if (typeof alias !== "string" || !isRoomAlias(alias)) {
        throw new MatrixError("M_INVALID_PARAM", "not a room alias");
      }
      const found = await roomAliases.find(this.#deps.database.db, alias);
      if (found?.room_id !== head.roomId) {
        throw new MatrixError("M_BAD_ALIAS", "the alias does not point to this room");
      }
    }
  }
}

function nameOf({ userId, deviceId, scope, txnId }: TransactionKey): string {
  return `${userId}\0${deviceId}\0${scope}\0${txnId}`;
}

/** Whether two contents are the same JSON, whatever the order of keys. */
function isSame(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  if (Array.isArray(a) && Array.isArray(b)) {
    return a.length === b.length && a.every((item, i) => isSame(item, b[i]));
  }
  if (!isObject(a) || !isObject(b)) return false;
  const keys = Object.keys(a);
  return (
    keys.length === Object.keys(b).length &&
    keys.every((key) => Object.hasOwn(b, key) && isSame(a[key], b[key]))
  );
}

/** What a transaction ID is unique within, as one text without U+0000. */
function scopeOf(...parts: string[]): string {
  return JSON.stringify(parts);
}
