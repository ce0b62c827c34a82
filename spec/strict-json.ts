/**
 * Strict JSON: refuses what `JSON.parse` lets through, and loses no number.
 * https://spec.matrix.org/v1.19/appendices/#canonical-json
 *
 * One scan over the bytes finds what is wrong beyond the grammar, before anything recurses; the
 * engine's own parser then checks the grammar and builds the value, unless it could misread it.
 */
import { isUtf8 } from "node:buffer";
import { MatrixError } from "./errors.ts";
import { readExactly } from "./exact-json.ts";

/** How deep arrays and objects may nest in what a client sends. */
export const MAX_CLIENT_DEPTH = 100;
/** How deep they may nest in a PDU, as deep as other implementations can take it. */
export const MAX_PDU_DEPTH = 900;

export interface ParseOptions {
  /** The deepest nesting of arrays and objects that is accepted; `[]` is 1 deep. */
  readonly maxDepth: number;
  /**
   * - `lossless`, the default: a number that a double would write otherwise is a `JsonNumber`.
   * - `integers`: only what canonical JSON knows; refuses `1.5`, `1.0`, `1e2`, `-0`, 2^53.
   */
  readonly numbers?: "lossless" | "integers";
}

/** A number that keeps its text, where a double would not: `1.0`, `1e2`, `-0`, 2^53 + 1. */
export class JsonNumber {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }

  /** The nearest double; infinite beyond the range of doubles. */
  valueOf(): number {
    return Number(this.text);
  }

  /** Makes `JSON.stringify` write the number as it was. */
  toJSON(): unknown {
    return JSON.rawJSON(this.text);
  }
}

declare global {
  interface JSON {
    rawJSON(text: string): unknown;
  }
}

/**
 * Reads one JSON value.
 *
 * @throws MatrixError M_NOT_JSON for what is not JSON in UTF-8, M_BAD_JSON for a duplicate key, a
 *   lone surrogate, too deep nesting, or a number that `numbers` does not allow
 */
export function parseJson(bytes: Uint8Array, options: ParseOptions): unknown {
  if (!isUtf8(bytes)) throw new MatrixError("M_NOT_JSON", "not UTF-8");
  const found = scan(bytes, options.maxDepth);
  if (found.isTooDeep) {
    throw new MatrixError("M_BAD_JSON", `more than ${options.maxDepth} levels deep`);
  }
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString();
  const value = parseText(text, found);
  if (found.hasLoneSurrogate) throw new MatrixError("M_BAD_JSON", "a lone surrogate");
  if (found.hasOddNumber && options.numbers === "integers") {
    throw new MatrixError("M_BAD_JSON", "a number that is no integer within ±(2^53 - 1)");
  }
  // Of two members with one key only the last is kept, so that fewer are left than were written.
  if (countMembers(value) !== found.members) throw new MatrixError("M_BAD_JSON", "a duplicate key");
  return value;
}

/**
 * Reads JSON text that `parseJson` once read, and that was stored since: without its checks, but
 * with each key and number as it is. `JSON.parse` is not safe for keys that others have chosen.
 */
export function parseStored(text: string): unknown {
  return parseText(text, scan(Buffer.from(text), MAX_PDU_DEPTH));
}

function parseText(text: string, { hasOddNumber, hasEscapedKey }: Found): unknown {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    if (!(cause instanceof SyntaxError)) throw cause;
    throw new MatrixError("M_NOT_JSON", "not JSON", { cause });
  }
  return hasOddNumber || hasEscapedKey ? readExactly(text, readNumber) : value;
}

function readNumber(text: string): number | JsonNumber {
  const double = Number(text);
  return String(double) === text ? double : new JsonNumber(text);
}

interface Found {
  isTooDeep: boolean;
  /** Members of all objects, by the colons outside of strings. */
  members: number;
  /** A number other than an integer within ±(2^53 - 1), or one that is written otherwise. */
  hasOddNumber: boolean;
  hasLoneSurrogate: boolean;
  hasEscapedKey: boolean;
}

const QUOTE = 0x22;
const MINUS = 0x2d;
const DOT = 0x2e;
const ZERO = 0x30;
const NINE = 0x39;
const COLON = 0x3a;
const BACKSLASH = 0x5c;
const OPEN_ARRAY = 0x5b;
const CLOSE_ARRAY = 0x5d;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;

/** Looks at each byte once. What it finds counts only if the bytes turn out to be JSON. */
function scan(bytes: Uint8Array, maxDepth: number): Found {
  const found: Found = {
    isTooDeep: false,
    members: 0,
    hasOddNumber: false,
    hasLoneSurrogate: false,
    hasEscapedKey: false,
  };
  const { length } = bytes;
  let depth = 0;
  let isLastStringEscaped = false;
  for (let i = 0; i < length; i++) {
    const byte = bytes[i]!;
    if (byte === QUOTE) {
      isLastStringEscaped = false;
      for (i++; i < length && bytes[i] !== QUOTE; i++) {
        if (bytes[i] !== BACKSLASH) continue;
        isLastStringEscaped = true;
        i++;
        if (!isSurrogateEscape(bytes, i)) continue;
        // A pair is a high one, D800 to DBFF, and a low one, DC00 to DFFF.
        const isPair =
          !isLowSurrogate(bytes, i) &&
          bytes[i + 5] === BACKSLASH &&
          isSurrogateEscape(bytes, i + 6) &&
          isLowSurrogate(bytes, i + 6);
        if (isPair) i += 10;
        else found.hasLoneSurrogate = true;
      }
    } else if (byte === COLON) {
      found.members++;
      if (isLastStringEscaped) found.hasEscapedKey = true;
    } else if (byte === OPEN_OBJECT || byte === OPEN_ARRAY) {
      depth++;
      if (depth > maxDepth) {
        found.isTooDeep = true;
        return found;
      }
    } else if (byte === CLOSE_OBJECT || byte === CLOSE_ARRAY) {
      depth--;
    } else if ((byte >= ZERO && byte <= NINE) || byte === MINUS) {
      let magnitude = 0;
      let at = byte === MINUS ? i + 1 : i;
      for (; at < length && bytes[at]! >= ZERO && bytes[at]! <= NINE; at++) {
        magnitude = magnitude * 10 + (bytes[at]! - ZERO);
      }
      // 0x20 makes an `E` an `e`.
      const isInteger = bytes[at] !== DOT && (bytes[at]! | 0x20) !== 0x65;
      if (
        !isInteger ||
        magnitude > Number.MAX_SAFE_INTEGER ||
        (magnitude === 0 && byte === MINUS)
      ) {
        found.hasOddNumber = true;
      }
      i = at - 1;
    }
  }
  return found;
}

/** Whether `uD800` to `uDFFF` stands at a place. */
function isSurrogateEscape(bytes: Uint8Array, at: number): boolean {
  return bytes[at] === 0x75 && (bytes[at + 1]! | 0x20) === 0x64 && hexDigit(bytes[at + 2]!) >= 8;
}

function isLowSurrogate(bytes: Uint8Array, at: number): boolean {
  return hexDigit(bytes[at + 2]!) >= 0xc;
}

function hexDigit(byte: number): number {
  return byte <= NINE ? byte - ZERO : (byte | 0x20) - 0x57;
}

/** Members of all objects in a value whose depth is bounded. */
function countMembers(value: unknown): number {
  if (typeof value !== "object" || value === null || value instanceof JsonNumber) return 0;
  let count = 0;
  if (Array.isArray(value)) {
    for (const item of value) if (typeof item === "object") count += countMembers(item);
    return count;
  }
  const object = value as Record<string, unknown>;
  for (const key of Object.keys(object)) {
    count++;
    const member = object[key];
    if (typeof member === "object") count += countMembers(member);
  }
  return count;
}
