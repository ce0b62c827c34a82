/**
 * Reads JSON text that is known to be well-formed, without the engine's parser for objects.
 *
 * V8's `JSON.parse` may read a key with an escape, such as `"\n"`, as another key that some object
 * had before (https://github.com/nodejs/node/issues/63785), and it keeps no number's text. This
 * reader is several times slower; strict-json.ts takes it where one of the two is at stake.
 */

/**
 * @param text well-formed JSON whose depth is bounded, for it recurses
 * @param readNumber gives the value of a number from its text
 */
export function readExactly(text: string, readNumber: (text: string) => unknown): unknown {
  return new Reader(text, readNumber).value();
}

const NUMBER = /-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/y;

class Reader {
  readonly #text: string;
  readonly #readNumber: (text: string) => unknown;
  /** Where the next token starts, or the space before it. */
  #at = 0;

  constructor(text: string, readNumber: (text: string) => unknown) {
    this.#text = text;
    this.#readNumber = readNumber;
  }

  value(): unknown {
    switch (this.#peek()) {
      case "{":
        return this.#object();
      case "[":
        return this.#array();
      case '"':
        return this.#string();
      case "t":
        this.#at += "true".length;
        return true;
      case "f":
        this.#at += "false".length;
        return false;
      case "n":
        this.#at += "null".length;
        return null;
      default:
        return this.#number();
    }
  }

  #object(): unknown {
    const object: Record<string, unknown> = {};
    this.#at++;
    while (this.#peek() !== "}") {
      const key = this.#string();
      this.#skip(":");
      const value = this.value();
      if (key === "__proto__") {
        Object.defineProperty(object, key, {
          value,
          writable: true,
          enumerable: true,
          configurable: true,
        });
      } else object[key] = value;
      this.#skip(",");
    }
    this.#at++;
    return object;
  }

  #array(): unknown {
    const array: unknown[] = [];
    this.#at++;
    while (this.#peek() !== "]") {
      array.push(this.value());
      this.#skip(",");
    }
    this.#at++;
    return array;
  }

  #string(): string {
    const start = this.#at;
    let end = this.#text.indexOf('"', start + 1);
    while (this.#isEscaped(end)) end = this.#text.indexOf('"', end + 1);
    this.#at = end + 1;
    const quoted = this.#text.slice(start, end + 1);
    return quoted.includes("\\") ? (JSON.parse(quoted) as string) : quoted.slice(1, -1);
  }

  /** Whether an odd number of backslashes stands before a place. */
  #isEscaped(at: number): boolean {
    let before = at;
    while (this.#text[before - 1] === "\\") before--;
    return (at - before) % 2 === 1;
  }

  #number(): unknown {
    NUMBER.lastIndex = this.#at;
    const [text = ""] = NUMBER.exec(this.#text) ?? [];
    if (text === "") throw new SyntaxError("not JSON");
    this.#at += text.length;
    return this.#readNumber(text);
  }

  /** The first character of the next token. */
  #peek(): string | undefined {
    while (" \t\r\n".includes(this.#text[this.#at] ?? "x")) this.#at++;
    return this.#text[this.#at];
  }

  /** Steps over a separator, which may be absent before a closing bracket. */
  #skip(separator: string): void {
    if (this.#peek() !== separator) return;
    this.#at++;
    this.#peek();
  }
}
