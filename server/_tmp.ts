/** What `/sync` shows until receipts, unread counts and typing are there: none of them. */
import type { SyncDeps } from "./sync/sync.ts";

export const ports: Pick<SyncDeps, "receipts" | "unread" | "typing"> = {
  receipts: { list: async () => [] },
  unread: { position: Infinity, reached: async () => undefined, counts: async () => new Map() },
  typing: { list: async () => new Map(), rooms: async () => [] },
};
