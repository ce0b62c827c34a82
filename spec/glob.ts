/**
 * Glob-style matching: https://spec.matrix.org/v1.19/appendices/#glob-style-matching
 *
 * `*` stands for any number of characters, `?` for one, which is one code point. No pattern makes
 * a match slow: the time is proportional to the text, times one for every 31 characters between
 * two stars. Regular expressions would backtrack.
 */

export interface Glob {
  /** Whether a whole text matches. */
  matches(text: string): boolean;
  /**
   * Whether any part of a text matches that starts and ends at a word boundary: the start or end
   * of the text, or a character other than `A-Z`, `a-z`, `0-9` and `_`.
   */
  matchesWords(text: string): boolean;
}

/**
 * Compiles a pattern. Case counts; for a match that ignores it, fold pattern and text.
 *
 * @param wildcards `*` where `?` stands for itself, as in filters
 */
export function compileGlob(pattern: string, wildcards: "*?" | "*" = "*?"): Glob {
  const single = wildcards === "*?" ? QUESTION_MARK : NO_WILDCARD;
  const segments = pattern.split("*").map((text) => new Segment(text, single));
  const isLiteral = single === NO_WILDCARD || !pattern.includes("?");
  const literals = isLiteral ? segments.map((segment) => segment.text) : undefined;
  return {
    matches: (text) =>
      literals === undefined
        ? matchesWhole(segments, codePointsOf(text))
        : matchesLiterals(literals, text),
    matchesWords: (text) =>
      literals?.every((literal) => text.includes(literal)) !== false &&
      matchesPart(segments, codePointsOf(text)),
  };
}

/** Whether a text holds another at word boundaries, in which `*` and `?` stand for themselves. */
export function containsWords(text: string, words: string): boolean {
  const segment = new Segment(words, NO_WILDCARD);
  return text.includes(words) && matchesPart([segment], codePointsOf(text));
}

/** Folds the case of a pattern or a text, so that they match whatever theirs was. */
export function foldCase(text: string): string {
  return text.toLowerCase();
}

/** The parts of a pattern between its stars, of which the first and the last are anchored. */
function matchesLiterals(literals: readonly string[], text: string): boolean {
  const [first = "", ...others] = literals;
  const last = others.pop();
  if (last === undefined) return text === first;
  if (!text.startsWith(first)) return false;
  let from = first.length;
  for (const literal of others) {
    const at = text.indexOf(literal, from);
    if (at < 0) return false;
    from = at + literal.length;
  }
  return text.length - last.length >= from && text.endsWith(last);
}

function matchesWhole(segments: readonly Segment[], text: Uint32Array): boolean {
  const [first, ...others] = segments;
  const last = others.pop();
  if (first === undefined || !first.isAt(text, 0)) return false;
  if (last === undefined) return text.length === first.length;
  let from = first.length;
  for (const segment of others) {
    from = segment.findEnd(text, from, ANYWHERE);
    if (from < 0) return false;
  }
  const lastAt = text.length - last.length;
  return lastAt >= from && last.isAt(text, lastAt);
}

/** The leftmost place of each segment leaves most room for those that follow. */
function matchesPart(segments: readonly Segment[], text: Uint32Array): boolean {
  let from = 0;
  for (const [i, segment] of segments.entries()) {
    from = segment.findEnd(text, from, {
      startsAtBoundary: i === 0,
      endsAtBoundary: i === segments.length - 1,
    });
    if (from < 0) return false;
  }
  return true;
}

interface Place {
  readonly startsAtBoundary: boolean;
  readonly endsAtBoundary: boolean;
}

const ANYWHERE: Place = { startsAtBoundary: false, endsAtBoundary: false };
const QUESTION_MARK = 0x3f;
const NO_WILDCARD = -1;
/** Bits of one word; 31 keeps JavaScript's bit arithmetic on small integers. */
const WORD_BITS = 31;
const ALL_BITS = 0x7fffffff;

/** A part of a pattern without stars. */
class Segment {
  readonly text: string;
  readonly length: number;
  readonly #codes: Uint32Array;
  readonly #wildcard: number;
  /** Made at first use: a pattern is often dismissed before. */
  #masks: Masks | undefined;

  constructor(text: string, wildcard: number) {
    this.text = text;
    this.#wildcard = wildcard;
    this.#codes = codePointsOf(text);
    this.length = this.#codes.length;
  }

  isAt(text: Uint32Array, at: number): boolean {
    if (at + this.length > text.length) return false;
    return this.#codes.every((code, i) => code === this.#wildcard || code === text[at + i]);
  }

  /**
   * Where the first match that starts at `from` or later ends; -1 if there is none.
   *
   * The Shift-And algorithm: bit i of `state` says that the i + 1 characters read last match the
   * first i + 1 of the segment.
   */
  findEnd(text: Uint32Array, from: number, place: Place): number {
    if (this.length === 0) return findBoundary(text, from, place);
    this.#masks ??= masksOf(this.#codes, this.#wildcard);
    const { byCode, others, words } = this.#masks;
    const state = new Int32Array(words);
    const lastWord = words - 1;
    const lastBit = 1 << ((this.length - 1) % WORD_BITS);
    for (let at = from; at < text.length; at++) {
      const mask = byCode.get(text[at] ?? 0) ?? others;
      let carry = !place.startsAtBoundary || startsWord(text, at) ? 1 : 0;
      for (let word = 0; word < words; word++) {
        const bits = state[word] ?? 0;
        state[word] = ((bits << 1) | carry) & ALL_BITS & (mask[word] ?? 0);
        carry = bits >>> (WORD_BITS - 1);
      }
      if (((state[lastWord] ?? 0) & lastBit) === 0) continue;
      if (!place.endsAtBoundary || endsWord(text, at + 1)) return at + 1;
    }
    return -1;
  }
}

interface Masks {
  /** For each character of the segment, the bits of the places where it may stand. */
  readonly byCode: ReadonlyMap<number, Int32Array>;
  /** For all other characters: the places of the wildcard. */
  readonly others: Int32Array;
  readonly words: number;
}

function masksOf(codes: Uint32Array, wildcard: number): Masks {
  const words = Math.ceil(codes.length / WORD_BITS);
  const others = new Int32Array(words);
  const byCode = new Map<number, Int32Array>();
  const set = (mask: Int32Array, i: number): void => {
    const word = Math.floor(i / WORD_BITS);
    mask[word] = (mask[word] ?? 0) | (1 << (i % WORD_BITS));
  };
  for (const [i, code] of codes.entries()) if (code === wildcard) set(others, i);
  for (const [i, code] of codes.entries()) {
    if (code === wildcard) continue;
    const mask = byCode.get(code) ?? Int32Array.from(others);
    byCode.set(code, mask);
    set(mask, i);
  }
  return { byCode, others, words };
}

/** The place of a segment without characters. */
function findBoundary(text: Uint32Array, from: number, place: Place): number {
  for (let at = from; at <= text.length; at++) {
    if (place.startsAtBoundary && !startsWord(text, at)) continue;
    if (place.endsAtBoundary && !endsWord(text, at)) continue;
    return at;
  }
  return -1;
}

function startsWord(text: Uint32Array, at: number): boolean {
  return at === 0 || !isWordCharacter(text[at - 1] ?? 0);
}

function endsWord(text: Uint32Array, at: number): boolean {
  return at === text.length || !isWordCharacter(text[at] ?? 0);
}

/** A-Z, a-z, 0-9 and _ */
function isWordCharacter(code: number): boolean {
  return (
    (code >= 0x61 && code <= 0x7a) ||
    (code >= 0x41 && code <= 0x5a) ||
    (code >= 0x30 && code <= 0x39) ||
    code === 0x5f
  );
}

function codePointsOf(text: string): Uint32Array {
  const codes = new Uint32Array(text.length);
  let length = 0;
  for (let i = 0; i < text.length; i++) {
    const code = text.codePointAt(i) ?? 0;
    codes[length++] = code;
    if (code > 0xffff) i++;
  }
  return codes.subarray(0, length);
}
