/**
 * Room state at any event: chains of snapshots.
 *
 * The snapshot at index i of a chain is a delta on the one at index i - lowbit(i), its lowest set bit
 * taken away, and holds all changes since that one. So a chain of n changes is read in at most
 * log2(n) + 1 rows, and a change costs log2(n) / 2 + 1 pairs on average. A full snapshot starts a new
 * chain when the chain has grown as long as the state is large.
 */
import { LRUCache } from "lru-cache";
import type { NewSnapshot } from "../../storage/event-rows.ts";
import type { Database } from "../../storage/database.ts";
import type { Nids } from "../../storage/nids.ts";
import * as snapshots from "../../storage/snapshots.ts";
import {
  countPairs,
  findPair,
  packPairs,
  type SnapshotNode,
  unpackPairs,
} from "../../storage/snapshots.ts";
import * as stateKeys from "../../storage/state-keys.ts";
import type { Place } from "../../storage/state-keys.ts";

/** `type` and `state key` as one map key. */
export type PlaceKey = `${string}\0${string}`;

export function placeKey(type: string, stateKey: string): PlaceKey {
  return `${type}\0${stateKey}`;
}

/** Bytes of packed pairs that are kept. */
const CACHE_BYTES = 64 * 1024 * 1024;
/** State keys whose nids are kept. */
const CACHED_KEYS = 200_000;
/** The shortest chain that is ended by a full snapshot. */
const MIN_CHAIN = 64;

export class StateStore {
  readonly #db: Database["db"];
  readonly #nids: Nids;
  readonly #nodes = new LRUCache<number, SnapshotNode>({
    maxSize: CACHE_BYTES,
    sizeCalculation: ({ pairs }) => pairs.length + 200,
  });
  readonly #keyNids = new LRUCache<PlaceKey, number>({ max: CACHED_KEYS });
  readonly #places = new LRUCache<number, Place>({ max: CACHED_KEYS });

  constructor(database: Pick<Database, "db">, nids: Nids) {
    this.#db = database.db;
    this.#nids = nids;
  }

  /** Reads snapshots that will be asked for, in one statement. */
  async prefetch(snapshotNids: Iterable<number>): Promise<void> {
    const missing = [...new Set(snapshotNids)].filter((nid) => !this.#nodes.has(nid));
    for (const node of await snapshots.listChains(this.#db, missing)) {
      this.#nodes.set(node.nid, node);
    }
  }

  /** The events (by nid) that a snapshot holds at some places; places it does not hold are left out. */
  async lookup(snapshotNid: number, places: readonly Place[]): Promise<Map<PlaceKey, number>> {
    const found = new Map<PlaceKey, number>();
    const [chain, keys] = await Promise.all([this.#chain(snapshotNid), this.#find(places)]);
    for (const [i, place] of places.entries()) {
      const keyNid = keys[i];
      if (keyNid === undefined) continue;
      for (const node of chain) {
        const eventNid = findPair(node.pairs, keyNid);
        if (eventNid === undefined) continue;
        if (eventNid !== 0) found.set(placeKey(place.type, place.stateKey), eventNid);
        break;
      }
    }
    return found;
  }

  /** The whole state that a snapshot holds, as event nids by place. */
  async all(snapshotNid: number): Promise<Map<PlaceKey, number>> {
    const pairs = await this.#flatten(snapshotNid);
    const places = await this.#placesOf([...pairs.keys()]);
    const state = new Map<PlaceKey, number>();
    for (const [keyNid, eventNid] of pairs) {
      const place = places.get(keyNid);
      if (place === undefined) throw new Error(`state key ${keyNid} is unknown`);
      state.set(placeKey(place.type, place.stateKey), eventNid);
    }
    return state;
  }

  /** What differs between two snapshots: places whose event in `to` is another, with that event. */
  async changes(from: number, to: number): Promise<Map<PlaceKey, number>> {
    if (from === to) return new Map();
    const [before, after] = await Promise.all([this.#flatten(from), this.#flatten(to)]);
    const changed: [number, number][] = [];
    for (const [keyNid, eventNid] of after) {
      if (before.get(keyNid) !== eventNid) changed.push([keyNid, eventNid]);
    }
    const places = await this.#placesOf(changed.map(([keyNid]) => keyNid));
    return new Map(
      changed.flatMap(([keyNid, eventNid]) => {
        const place = places.get(keyNid);
        return place === undefined ? [] : [[placeKey(place.type, place.stateKey), eventNid]];
      }),
    );
  }

  /**
   * A snapshot that adds some state to another one. It is to be written with the event that makes it.
   *
   * @param parentNid undefined for a room's first
   */
  async derive(
    roomNid: number,
    parentNid: number | undefined,
    added: readonly (Place & { eventNid: number })[],
  ): Promise<NewSnapshot> {
    const keys = await this.#ensure(added);
    const nid = await this.#nids.next();
    const changes = new Map(
      added.map(({ eventNid }, i): [number, number] => [keys[i] as number, eventNid]),
    );
    if (parentNid === undefined) return this.#keep(nid, roomNid, undefined, 0, changes);
    const chain = await this.#chain(parentNid);
    const [last] = chain;
    const full = chain.at(-1);
    if (last === undefined || full === undefined) throw new Error(`no snapshot ${parentNid}`);
    const index = last.chainLength + 1;
    if (index > Math.max(MIN_CHAIN, countPairs(full.pairs))) {
      const all = await this.#flatten(parentNid);
      for (const [key, event] of changes) all.set(key, event);
      return this.#keep(nid, roomNid, undefined, 0, all);
    }
    const parentIndex = index & (index - 1);
    for (const node of chain) {
      if (node.chainLength <= parentIndex) {
        return this.#keep(nid, roomNid, node.nid, index, changes);
      }
      for (const [key, event] of unpackPairs(node.pairs)) {
        if (!changes.has(key)) changes.set(key, event);
      }
    }
    throw new Error(`the chain of snapshot ${parentNid} has no index ${parentIndex}`);
  }

  #keep(
    nid: number,
    roomNid: number,
    parentNid: number | undefined,
    chainLength: number,
    changes: Map<number, number>,
  ): NewSnapshot {
    const node = { nid, roomNid, parentNid, chainLength, pairs: packPairs(changes) };
    this.#nodes.set(nid, node);
    return node;
  }

  /** A snapshot and its ancestors, the full one last. */
  async #chain(nid: number): Promise<SnapshotNode[]> {
    const chain: SnapshotNode[] = [];
    for (let at: number | undefined = nid; at !== undefined;) {
      let node: SnapshotNode | undefined = this.#nodes.get(at);
      if (node === undefined) {
        const loaded = await snapshots.listChains(this.#db, [at]);
        for (const each of loaded) this.#nodes.set(each.nid, each);
        node = loaded.find((each) => each.nid === at);
        if (node === undefined) throw new Error(`no snapshot ${at}`);
      }
      chain.push(node);
      at = node.parentNid;
    }
    return chain;
  }

  /** The whole state, as event nids by state key nid. */
  async #flatten(nid: number): Promise<Map<number, number>> {
    const state = new Map<number, number>();
    for (const node of (await this.#chain(nid)).toReversed()) {
      for (const [key, event] of unpackPairs(node.pairs)) state.set(key, event);
    }
    return state;
  }

  async #ensure(places: readonly Place[]): Promise<number[]> {
    return this.#keys(places, stateKeys.ensure) as Promise<number[]>;
  }

  async #find(places: readonly Place[]): Promise<(number | undefined)[]> {
    return this.#keys(places, stateKeys.find);
  }

  async #keys(
    places: readonly Place[],
    ask: (db: Database["db"], places: readonly Place[]) => Promise<(number | undefined)[]>,
  ): Promise<(number | undefined)[]> {
    const nids = places.map((p) => this.#keyNids.get(placeKey(p.type, p.stateKey)));
    const missing = places.filter((_, i) => nids[i] === undefined);
    if (missing.length > 0) {
      const asked = await ask(this.#db, missing);
      let next = 0;
      for (const [i, place] of places.entries()) {
        if (nids[i] !== undefined) continue;
        const nid = asked[next++];
        if (nid === undefined) continue;
        nids[i] = nid;
        this.#keyNids.set(placeKey(place.type, place.stateKey), nid);
      }
    }
    return nids;
  }

  async #placesOf(keyNids: readonly number[]): Promise<Map<number, Place>> {
    const places = new Map<number, Place>();
    const missing: number[] = [];
    for (const nid of keyNids) {
      const place = this.#places.get(nid);
      if (place === undefined) missing.push(nid);
      else places.set(nid, place);
    }
    for (const { nid, ...place } of await stateKeys.listByNids(this.#db, missing)) {
      this.#places.set(nid, place);
      places.set(nid, place);
    }
    return places;
  }
}
