/** Changes a valid body, one place at a time, into ones that its schema does not take. */
import { isObject, type JsonObject } from "../../spec/shape.ts";
import type { Facts, Schema } from "../spec-facts/facts.ts";
import { resolved } from "../spec-facts/schema.ts";
import { sample, wrongTypes, wrongValues } from "./samples.ts";

export interface Variant {
  /** Where the body was changed, as in `body.initial_state[0].type`. */
  place: string;
  /** How, as in `is 1`. */
  change: string;
  body: unknown;
}

type Definitions = Facts["definitions"];
/** Puts a value in a place, or takes away what is there, and gives the whole body. */
type Put = (value: unknown) => unknown;

const ABSENT = Symbol("absent");

export interface Variants {
  /** Bodies that lack a key that must be there. */
  missing: Variant[];
  /** Bodies with a value of another type. */
  mistyped: Variant[];
  /** Bodies with a value of the right type that is not allowed. */
  misvalued: Variant[];
}

export function variantsOf(body: unknown, schema: Schema, definitions: Definitions): Variants {
  const variants: Variants = { missing: [], mistyped: [], misvalued: [] };
  new Walk(definitions, variants).visit(body, schema, "body", (value) => value);
  return variants;
}

class Walk {
  readonly #definitions: Definitions;
  readonly #variants: Variants;

  constructor(definitions: Definitions, variants: Variants) {
    this.#definitions = definitions;
    this.#variants = variants;
  }

  /** @param value what stands in the place; made up where the body has nothing there */
  visit(value: unknown, named: Schema, place: string, put: Put): void {
    const schema = resolved(named, this.#definitions);
    const add = (to: Variant[], wrong: unknown): void => {
      to.push({ place, change: `is ${JSON.stringify(wrong)}`, body: put(wrong) });
    };
    for (const wrong of wrongTypes(schema, this.#definitions)) add(this.#variants.mistyped, wrong);
    for (const wrong of wrongValues(schema, this.#definitions))
      add(this.#variants.misvalued, wrong);
    if (Array.isArray(value)) this.#array(value, schema, place, put);
    else if (isObject(value)) this.#object(value, schema, place, put);
  }

  #array(value: unknown[], { items }: Schema, place: string, put: Put): void {
    if (items === undefined || Array.isArray(items)) return;
    const first = value.length > 0 ? value[0] : sample(items, this.#definitions);
    this.visit(first, items, `${place}[0]`, (item) => put([item, ...value.slice(1)]));
  }

  #object(value: JsonObject, schema: Schema, place: string, put: Put): void {
    const known = Object.entries(schema.properties ?? {});
    for (const [key, of] of known) {
      const at = `${place}.${key}`;
      const putMember: Put = (item) => put(withMember(value, key, item));
      if (schema.required?.includes(key) === true && Object.hasOwn(value, key)) {
        const body = putMember(ABSENT);
        this.#variants.missing.push({ place: at, change: "is left out", body });
      }
      const member = Object.hasOwn(value, key) ? value[key] : sample(of, this.#definitions);
      this.visit(member, of, at, putMember);
    }
    const isKnown = new Set(known.map(([key]) => key));
    const others = Object.entries(value).filter(([key]) => !isKnown.has(key));
    for (const [key, member] of others) {
      const of = schemaOfKey(schema, key);
      if (of === undefined) continue;
      const putMember: Put = (item) => put(withMember(value, key, item));
      this.visit(member, of, `${place}.${key}`, putMember);
      // The members of a map are alike: one of them is enough.
      break;
    }
  }
}

function withMember(object: JsonObject, key: string, value: unknown): JsonObject {
  const { [key]: _, ...rest } = object;
  return value === ABSENT ? rest : { ...rest, [key]: value };
}

function schemaOfKey(schema: Schema, key: string): Schema | undefined {
  const patterns = Object.entries(schema.patternProperties ?? {});
  const match = patterns.find(([pattern]) => new RegExp(pattern, "u").test(key));
  if (match !== undefined) return match[1];
  return isObject(schema.additionalProperties) ? schema.additionalProperties : undefined;
}
