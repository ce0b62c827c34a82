/** Canonical JSON, what servers sign and hash: https://spec.matrix.org/v1.19/appendices/#canonical-json */
import { MatrixError } from "./errors.ts";
import { JsonNumber, MAX_PDU_DEPTH } from "./strict-json.ts";

export interface CanonicalOptions {
  /**
   * - `integers`, the default: refuses all numbers but integers within ±(2^53 - 1).
   * - `lossless`: numbers keep their text, for the events of room versions 1 to 5 and for
   *   requests that may carry such events.
   */
  readonly numbers?: "integers" | "lossless";
}

/**
 * Writes a JSON value in its one canonical form.
 *
 * @param value any JSON value, as `parseJson` gives it; only read
 * @returns JSON text, no space between tokens, keys in code point order; sign its UTF-8 bytes
 * @throws MatrixError M_BAD_JSON for a number that `numbers` refuses, a lone surrogate, more than
 *   900 levels, or what is not JSON
 */
export function canonicalJson(value: unknown, options: CanonicalOptions = {}): string {
  return write(value, options.numbers === "lossless", 0);
}

/** @param depth how many arrays and objects are around the value, so that recursion has a bound */
function write(value: unknown, isLossless: boolean, depth: number): string {
  switch (typeof value) {
    case "string":
      return quote(value);
    case "number":
      return writeNumber(value, isLossless);
    case "boolean":
      return value ? "true" : "false";
    case "object":
      break;
    default:
      throw new MatrixError("M_BAD_JSON", `not JSON: a ${typeof value}`);
  }
  if (value === null) return "null";
  if (value instanceof JsonNumber) return writeJsonNumber(value, isLossless);
  if (depth === MAX_PDU_DEPTH) {
    throw new MatrixError("M_BAD_JSON", `more than ${MAX_PDU_DEPTH} levels deep`);
  }
  let text = "";
  if (Array.isArray(value)) {
    for (const item of value) {
      text += text === "" ? "" : ",";
      text += write(item, isLossless, depth + 1);
    }
    return `[${text}]`;
  }
  if (!isPlainObject(value)) throw new MatrixError("M_BAD_JSON", "not JSON: an object of a class");
  for (const key of sortedKeys(value)) {
    text += text === "" ? "" : ",";
    text += `${quote(key)}:${write(value[key], isLossless, depth + 1)}`;
  }
  return `{${text}}`;
}

function isPlainObject(value: object): value is Record<string, unknown> {
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}

// oxlint-disable-next-line no-control-regex -- control characters are what JSON escapes
const NEEDS_CARE = /["\\\u0000-\u001f\ud800-\udfff]/;

/** A JSON string, with no more escapes than there have to be. */
function quote(text: string): string {
  if (!NEEDS_CARE.test(text)) return `"${text}"`;
  if (!text.isWellFormed()) throw new MatrixError("M_BAD_JSON", "a lone surrogate");
  return JSON.stringify(text);
}

function writeNumber(value: number, isLossless: boolean): string {
  // Of -0 this makes 0.
  if (Number.isSafeInteger(value) || (isLossless && Number.isFinite(value))) return String(value);
  throw notCanonical();
}

/** An integer keeps its digits; an exponent is written out where that is exact; all else stays. */
function writeJsonNumber(number: JsonNumber, isLossless: boolean): string {
  if (!isLossless) throw notCanonical();
  const { text } = number;
  const value = number.valueOf();
  if (text === "-0" || (/e/i.test(text) && Number.isSafeInteger(value))) return String(value);
  return text;
}

function notCanonical(): MatrixError {
  return new MatrixError("M_BAD_JSON", "a number that is no integer within ±(2^53 - 1)");
}

/** Most objects that reach us are in order already. */
function sortedKeys(object: Record<string, unknown>): string[] {
  const keys = Object.keys(object);
  for (let i = 1; i < keys.length; i++) {
    if (compareCodePoints(keys[i - 1]!, keys[i]!) > 0) return keys.sort(compareCodePoints);
  }
  return keys;
}

/**
 * Orders strings by code point, as their UTF-8 bytes are; `<` compares UTF-16 units, and so puts
 * U+1F600, a pair of surrogates, before U+FF5E.
 */
export function compareCodePoints(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    const unitA = a.charCodeAt(i);
    const unitB = b.charCodeAt(i);
    if (unitA !== unitB) return liftSurrogate(unitA) - liftSurrogate(unitB);
  }
  return a.length - b.length;
}

/** Puts surrogates above all other units. */
function liftSurrogate(unit: number): number {
  return unit >= 0xd800 && unit <= 0xdfff ? unit + 0x10000 : unit;
}
