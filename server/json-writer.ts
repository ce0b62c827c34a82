/** Writes JSON out of pieces that are JSON already: texts, and bytes that many answers share. */
export type JsonPiece = string | Uint8Array;

export class JsonWriter {
  readonly #chunks: Uint8Array[] = [];
  #length = 0;
  #text = "";

  /** Appends text, or UTF-8 bytes that are not copied before the end. */
  add(piece: JsonPiece): this {
    if (typeof piece === "string") this.#text += piece;
    else {
      this.#flush();
      this.#chunks.push(piece);
      this.#length += piece.byteLength;
    }
    return this;
  }

  /** Appends a value. */
  value(value: unknown): this {
    this.#text += JSON.stringify(value);
    return this;
  }

  /** Appends items, with commas between them. */
  list<T>(items: Iterable<T>, write: (item: T) => void): this {
    let isFirst = true;
    for (const item of items) {
      if (!isFirst) this.#text += ",";
      isFirst = false;
      write(item);
    }
    return this;
  }

  /** All of it; the writer is not to be used after. */
  toBuffer(): Buffer {
    this.#flush();
    return Buffer.concat(this.#chunks, this.#length);
  }

  #flush(): void {
    if (this.#text === "") return;
    const bytes = Buffer.from(this.#text);
    this.#text = "";
    this.#chunks.push(bytes);
    this.#length += bytes.byteLength;
  }
}
