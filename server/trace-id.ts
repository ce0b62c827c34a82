/** Trace ids: 128 random bits in hexadecimal digits, as W3C trace context writes them. */
import { randomFillSync } from "node:crypto";

const BYTES = 16;
const pool = Buffer.alloc(BYTES * 256);
let used = pool.length;

/** Drawn from a pool, since a call for 16 random bytes costs more than the rest of a request's id. */
export function newTraceId(): string {
  if (used === pool.length) {
    randomFillSync(pool);
    used = 0;
  }
  used += BYTES;
  return pool.toString("hex", used - BYTES, used);
}
