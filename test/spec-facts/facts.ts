/** What the table of facts holds: the specification's endpoints without its prose. */
import { readFileSync } from "node:fs";

/** The part of JSON Schema that the specification uses. Where nothing is said, anything goes. */
export interface Schema {
  /** The name of one of the table's definitions; stands alone. */
  $ref?: string;
  type?: TypeName | TypeName[];
  format?: string;
  enum?: (string | number | boolean)[];
  pattern?: string;
  properties?: Record<string, Schema>;
  required?: string[];
  /** Keys that match, as regular expressions, and what their values are. */
  patternProperties?: Record<string, Schema>;
  additionalProperties?: Schema | boolean;
  minProperties?: number;
  maxProperties?: number;
  items?: Schema | Schema[];
  minItems?: number;
  maxItems?: number;
  oneOf?: Schema[];
  anyOf?: Schema[];
}

export type TypeName = "object" | "array" | "string" | "integer" | "number" | "boolean" | "null";

export interface Parameter {
  name: string;
  required?: true;
  schema: Schema;
  example?: unknown;
}

export interface Body {
  required?: true;
  /** Schema by content type. */
  content: Record<string, Schema>;
  /** Documented bodies, where there are any. */
  examples?: unknown[];
}

export interface Response {
  /** Schema by content type. */
  content: Record<string, Schema>;
  /** Error codes that the specification names for this status. */
  errcodes?: string[];
  headers?: string[];
}

/** Whose request it must be. */
export type Security = "none" | "optional" | "user" | "appservice" | "signature";

export interface Operation {
  /** The specification's operationId, unique in its API. */
  id: string;
  method: "GET" | "POST" | "PUT" | "DELETE";
  /** Whole, with parameters as `{name}`. */
  path: string;
  /** The file of the specification, without `.yaml`. */
  file: string;
  chapter: string;
  security: Security;
  deprecated?: true;
  rateLimited?: true;
  /** The version of the specification that brought it. */
  since?: string;
  params?: Parameter[];
  query?: Parameter[];
  headers?: Parameter[];
  body?: Body;
  responses: Record<string, Response>;
}

export interface Facts {
  operations: Operation[];
  definitions: Record<string, Schema>;
}

export type ApiName = "client-server" | "server-server";

export function tableUrl(api: ApiName): URL {
  return new URL(`./${api}.json`, import.meta.url);
}

/** The committed table. */
export function loadFacts(api: ApiName): Facts {
  // Written by generate.ts from this type.
  return JSON.parse(readFileSync(tableUrl(api), "utf8")) as Facts;
}
