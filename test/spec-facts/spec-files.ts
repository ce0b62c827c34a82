/** Reads the specification's YAML files and follows their references. */
import { readdirSync, readFileSync } from "node:fs";
import { basename, join, relative, resolve } from "node:path";
import { parse } from "yaml";
import { isObject, type JsonObject } from "../../spec/shape.ts";

/** A value of the specification and the file that it stands in, from which its references lead on. */
export interface Located<T = unknown> {
  value: T;
  file: string;
}

export class SpecFiles {
  /** The folder `data` of the specification. */
  readonly #data: string;
  readonly #files = new Map<string, unknown>();

  constructor(root: string) {
    this.#data = join(root, "data");
  }

  /** The documents of an API, in the order of their names. */
  list(api: string): { name: string; at: Located<JsonObject> }[] {
    const folder = join(this.#data, "api", api);
    const names = readdirSync(folder).filter((name) => name.endsWith(".yaml"));
    return names.toSorted().map((name) => {
      const file = join(folder, name);
      return { name: basename(name, ".yaml"), at: { value: asObject(this.#load(file)), file } };
    });
  }

  /** What a `$ref` points at. */
  follow(ref: string, from: string): Located {
    const [path = "", pointer = ""] = ref.split("#");
    const file = path === "" ? from : resolve(from, "..", path);
    let value = this.#load(file);
    for (const step of pointer.split("/").filter((s) => s !== "")) {
      value = asObject(value)[step.replaceAll("~1", "/").replaceAll("~0", "~")];
    }
    if (value === undefined) throw new Error(`${from}: nothing at ${ref}`);
    return { value, file };
  }

  /** The value itself, or what it refers to. */
  resolve({ value, file }: Located): Located<JsonObject> {
    const object = asObject(value);
    const ref = object["$ref"];
    return typeof ref === "string" ? this.resolve(this.follow(ref, file)) : { value: object, file };
  }

  /** An example with everything in place that it refers to; what stands beside a `$ref` goes before. */
  inline({ value, file }: Located): unknown {
    if (Array.isArray(value)) return value.map((item) => this.inline({ value: item, file }));
    if (!isObject(value)) return value;
    const { $ref: ref, ...rest } = value;
    const own = Object.fromEntries(
      Object.entries(rest).map(([key, item]) => [key, this.inline({ value: item, file })]),
    );
    if (typeof ref !== "string") return own;
    const referred = this.inline(this.follow(ref, file));
    return isObject(referred) ? { ...referred, ...own } : referred;
  }

  /** A short name for what a reference leads to, the same wherever the specification lies. */
  nameOf(ref: string, from: string): string {
    const [path = "", pointer = ""] = ref.split("#");
    const file = path === "" ? from : resolve(from, "..", path);
    const name = relative(join(this.#data, "api"), file)
      .replace(/^(?:\.\.\/)+/, "")
      .replace(/\.yaml$/, "");
    return pointer === "" ? name : `${name}#${pointer}`;
  }

  #load(file: string): unknown {
    let found = this.#files.get(file);
    if (found === undefined) {
      found = parse(readFileSync(file, "utf8"), { maxAliasCount: -1 });
      this.#files.set(file, found);
    }
    return found;
  }
}

export function asObject(value: unknown): JsonObject {
  if (!isObject(value)) throw new Error(`expected an object, found ${JSON.stringify(value)}`);
  return value;
}
