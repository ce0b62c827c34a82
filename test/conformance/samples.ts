/** Makes values up that satisfy a schema, and others that do not. */
import { isObject } from "../../spec/shape.ts";
import type { Facts, Schema, TypeName } from "../spec-facts/facts.ts";
import { resolved } from "../spec-facts/schema.ts";

type Definitions = Facts["definitions"];

const FORMATS: Record<string, string> = {
  "mx-event-id": "$dGhpcyBpcyBubyBldmVudCBvZiB0aGlzIHNlcnZlcg",
  "mx-mxc-uri": "mxc://localhost/AQwafuaFswefuhsfAFAgsw",
  "mx-room-alias": "#nowhere:localhost",
  "mx-room-id": "!nowhere:localhost",
  "mx-server-name": "localhost",
  "mx-user-id": "@nobody:localhost",
  email: "nobody@localhost",
  uri: "https://localhost/",
};

/** One value of each type. */
const OF_TYPES: [TypeName, unknown][] = [
  ["string", "x"],
  ["integer", 1],
  ["number", 1.5],
  ["boolean", true],
  ["array", []],
  ["object", {}],
];

/** A value that a schema takes, every one of its known keys filled in. */
export function sample(named: Schema, definitions: Definitions): unknown {
  const schema = resolved(named, definitions);
  const type = typesOf(schema, definitions)[0];
  if (schema.enum !== undefined) return schema.enum[0];
  if (type === "object") {
    const known = Object.entries(schema.properties ?? {});
    const { additionalProperties: rest, minProperties = 0 } = schema;
    if (known.length < minProperties) known.push(["x", isObject(rest) ? rest : {}]);
    return Object.fromEntries(known.map(([key, item]) => [key, sample(item, definitions)]));
  }
  if (type === "array") {
    return [schema.items ?? []].flat().map((item) => sample(item, definitions));
  }
  if (type === "integer" || type === "number") return 1;
  if (type === "boolean") return true;
  return FORMATS[schema.format ?? ""] ?? "x";
}

/** Values of the types that a schema does not take. */
export function wrongTypes(schema: Schema, definitions: Definitions): unknown[] {
  const right = typesOf(resolved(schema, definitions), definitions);
  if (right.length === 0) return [];
  const isRight = (type: TypeName): boolean =>
    right.includes(type) || (type === "integer" && right.includes("number"));
  return OF_TYPES.filter(([type]) => !isRight(type)).map(([, value]) => value);
}

/** Values of the right type that a schema does not take. */
export function wrongValues(named: Schema, definitions: Definitions): unknown[] {
  const schema = resolved(named, definitions);
  if (schema.enum !== undefined) return ["no such value"];
  const isIdentifier = schema.format?.startsWith("mx-") === true;
  return isIdentifier && schema.pattern !== undefined ? ["no identifier"] : [];
}

/** The types that a schema takes; none where it takes any. */
function typesOf(schema: Schema, definitions: Definitions): TypeName[] {
  if (schema.type !== undefined) return [schema.type].flat();
  const alternatives = schema.oneOf ?? schema.anyOf ?? [];
  const types = alternatives.map((item) => typesOf(resolved(item, definitions), definitions));
  if (types.some((of) => of.length === 0)) return [];
  if (types.length === 0 && schema.properties !== undefined) return ["object"];
  return types.flat();
}
