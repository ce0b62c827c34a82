/** Turns a schema of the specification into a compact one: no prose, references by name, `allOf` merged. */
import { isObject, type JsonObject } from "../../spec/shape.ts";
import type { Schema, TypeName } from "./facts.ts";
import { asObject, type Located, type SpecFiles } from "./spec-files.ts";

const KEPT = new Set([
  "type",
  "format",
  "enum",
  "pattern",
  "required",
  "minProperties",
  "maxProperties",
  "minItems",
  "maxItems",
]);
/** What says nothing about which values are right. */
const PROSE = new Set([
  "$schema",
  "default",
  "deprecated",
  "description",
  "example",
  "examples",
  "title",
  "x-addedInMatrixVersion",
  "x-changedInMatrixVersion",
  "x-pattern-format",
]);

export class Compactor {
  readonly #files: SpecFiles;
  readonly #definitions = new Map<string, Schema>();

  constructor(files: SpecFiles) {
    this.#files = files;
  }

  /** Everything that compacted schemas refer to, by name. */
  definitions(): Record<string, Schema> {
    return Object.fromEntries([...this.#definitions].toSorted(([a], [b]) => (a < b ? -1 : 1)));
  }

  /** @throws Error for a keyword that this program does not know */
  compact({ value, file }: Located): Schema {
    const from = asObject(value);
    const ref = from["$ref"];
    if (typeof ref === "string") {
      const rest = this.#own({ value: { ...from, $ref: undefined }, file });
      const name = this.#define(ref, file);
      return Object.keys(rest).length === 0
        ? { $ref: name }
        : merge(this.#definitions.get(name) ?? {}, rest);
    }
    return this.#own({ value: from, file });
  }

  #define(ref: string, file: string): string {
    const name = this.#files.nameOf(ref, file);
    if (!this.#definitions.has(name)) {
      // The specification's schemas do not recurse; were one to, this would not end.
      this.#definitions.set(name, this.compact(this.#files.follow(ref, file)));
    }
    return name;
  }

  #own({ value, file }: Located<JsonObject>): Schema {
    let result: Schema = {};
    const parts: Schema[] = [];
    const at = (item: unknown): Schema => this.compact({ value: item, file });
    for (const [key, item] of Object.entries(value)) {
      if (item === undefined || PROSE.has(key)) continue;
      if (key === "allOf") {
        parts.push(...asArray(item).map((part) => this.#whole(at(part))));
      } else if (key === "properties" || key === "patternProperties") {
        result[key] = mapValues(asObject(item), at);
      } else if (key === "additionalProperties") {
        result[key] = isObject(item) ? at(item) : item === true;
      } else if (key === "items") {
        result[key] = Array.isArray(item) ? item.map(at) : at(item);
      } else if (key === "oneOf" || key === "anyOf") {
        result[key] = asArray(item).map(at);
      } else if (KEPT.has(key)) {
        result = { ...result, [key]: item };
      } else throw new Error(`${file}: unknown keyword ${key}`);
    }
    return parts.reduceRight((merged, part) => merge(part, merged), result);
  }

  /** A schema that does not stand behind a name. */
  #whole(schema: Schema): Schema {
    return schema.$ref === undefined ? schema : (this.#definitions.get(schema.$ref) ?? {});
  }
}

/** What both schemas ask for; where they name the same thing, the second is more precise. */
function merge(first: Schema, second: Schema): Schema {
  const merged: Schema = { ...first, ...second };
  if (first.type !== undefined && second.type !== undefined) {
    merged.type = commonType(first.type, second.type);
  }
  if (first.properties !== undefined && second.properties !== undefined) {
    merged.properties = { ...first.properties };
    for (const [key, schema] of Object.entries(second.properties)) {
      const before = first.properties[key];
      merged.properties[key] =
        before === undefined || before.$ref !== undefined || schema.$ref !== undefined
          ? schema
          : merge(before, schema);
    }
  }
  if (first.required !== undefined && second.required !== undefined) {
    merged.required = [...new Set([...first.required, ...second.required])];
  }
  return merged;
}

function commonType(first: TypeName | TypeName[], second: TypeName | TypeName[]) {
  const of = [second].flat();
  const common = [first].flat().filter((type) => of.includes(type));
  const [only] = common;
  if (only === undefined) throw new Error(`no type is both ${String(first)} and ${String(second)}`);
  return common.length === 1 ? only : common;
}

function mapValues<T>(of: JsonObject, change: (item: unknown) => T): Record<string, T> {
  return Object.fromEntries(Object.entries(of).map(([key, item]) => [key, change(item)]));
}

function asArray(value: unknown): unknown[] {
  if (!Array.isArray(value)) throw new Error(`expected a list, found ${JSON.stringify(value)}`);
  return value;
}
