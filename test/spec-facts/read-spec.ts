/** Reads an API of the specification into the table of facts. */
import { isObject, type JsonObject } from "../../spec/shape.ts";
import { Compactor } from "./compact.ts";
import type { ApiName, Body, Facts, Operation, Parameter, Response, Security } from "./facts.ts";
import { asObject, type Located, SpecFiles } from "./spec-files.ts";

const METHODS = ["get", "put", "post", "delete"];

/** @param root the folder of the specification */
export function readSpec(root: string, api: ApiName): Facts {
  const files = new SpecFiles(root);
  const reader = new Reader(files);
  const operations = files.list(api).flatMap(({ name, at }) => reader.document(name, at));
  return { operations, definitions: reachable(operations, reader.definitions()) };
}

/** The definitions that are referred to: others were merged where they were named. */
function reachable(operations: Operation[], all: Facts["definitions"]): Facts["definitions"] {
  const found = new Set<string>();
  const visit = (value: unknown): void => {
    for (const [, name = ""] of JSON.stringify(value).matchAll(/"\$ref":"([^"]*)"/g)) {
      if (found.has(name)) continue;
      found.add(name);
      visit(all[name]);
    }
  };
  // An example that holds a "$ref" was put in place long before.
  visit(operations);
  return Object.fromEntries(Object.entries(all).filter(([name]) => found.has(name)));
}

/** Documented responses and the schemas that they should satisfy. */
export interface ResponseExample {
  operation: string;
  status: string;
  example: unknown;
}

/** The examples of responses, which the table leaves out. */
export function readResponseExamples(root: string, api: ApiName): ResponseExample[] {
  const files = new SpecFiles(root);
  return files.list(api).flatMap(({ at }) =>
    operationsOf(at).flatMap(({ operation }) =>
      Object.entries(asObject(operation.value["responses"])).flatMap(([status, response]) => {
        const found = files.resolve({ value: response, file: operation.file });
        const media = mediaTypes(found).get("application/json");
        const id = String(operation.value["operationId"]);
        return examplesOf(files, media).map((example) => ({ operation: id, status, example }));
      }),
    ),
  );
}

class Reader {
  readonly #files: SpecFiles;
  readonly #compactor: Compactor;

  constructor(files: SpecFiles) {
    this.#files = files;
    this.#compactor = new Compactor(files);
  }

  definitions(): Facts["definitions"] {
    return this.#compactor.definitions();
  }

  document(name: string, at: Located<JsonObject>): Operation[] {
    return operationsOf(at).map(({ method, path, operation, pathItem }) => {
      const { value, file } = operation;
      const [tag] = asList(value["tags"]);
      const parameters = [...asList(pathItem["parameters"]), ...asList(value["parameters"])].map(
        (parameter) => this.#parameter({ value: parameter, file }),
      );
      const of = (place: string): Parameter[] | undefined => {
        const found = parameters.filter((p) => p.in === place).map((p) => p.parameter);
        return found.length === 0 ? undefined : found;
      };
      const responses = Object.entries(asObject(value["responses"])).map(
        ([status, response]) => [status, this.#response({ value: response, file })] as const,
      );
      return withoutUndefined({
        id: String(value["operationId"]),
        method: method.toUpperCase() as Operation["method"],
        // A blank tells apart two operations of one path there.
        path: (basePath(at.value) + path).trim(),
        file: name,
        chapter: typeof tag === "string" ? tag : asSentence(name),
        security: security(value["security"]),
        deprecated: value["deprecated"] === true ? true : undefined,
        rateLimited: responses.some(([status]) => status === "429") ? true : undefined,
        since: value["x-addedInMatrixVersion"] as string | undefined,
        params: of("path"),
        query: of("query"),
        headers: of("header"),
        body:
          value["requestBody"] === undefined
            ? undefined
            : this.#body({ value: value["requestBody"], file }),
        responses: Object.fromEntries(responses),
      });
    });
  }

  #parameter(at: Located): { in: string; parameter: Parameter } {
    const { value, file } = this.#files.resolve(at);
    const parameter: Parameter = withoutUndefined({
      name: String(value["name"]),
      required: value["required"] === true ? true : undefined,
      schema: this.#compactor.compact({ value: value["schema"], file }),
      example: value["example"],
    });
    return { in: String(value["in"]), parameter };
  }

  #body(at: Located): Body {
    const found = this.#files.resolve(at);
    const media = mediaTypes(found);
    const examples = examplesOf(this.#files, media.get("application/json"));
    return withoutUndefined({
      required: found.value["required"] === true ? true : undefined,
      content: this.#content(media),
      examples: examples.length === 0 ? undefined : examples,
    });
  }

  #response(at: Located): Response {
    const found = this.#files.resolve(at);
    const media = mediaTypes(found);
    const text = JSON.stringify([
      found.value["description"],
      examplesOf(this.#files, media.get("application/json")),
      [...media.values()].map((m) => enumeratedErrcodes(m.value["schema"])),
    ]);
    const errcodes = [...new Set(text.match(/\bM_[A-Z0-9_]+\b/g))].toSorted();
    const headers = Object.keys(asObject(found.value["headers"] ?? {}));
    return withoutUndefined({
      content: this.#content(media),
      errcodes: errcodes.length === 0 ? undefined : errcodes,
      headers: headers.length === 0 ? undefined : headers,
    });
  }

  #content(media: Map<string, Located<JsonObject>>): Body["content"] {
    return Object.fromEntries(
      [...media].map(([type, { value, file }]) => [
        type,
        value["schema"] === undefined
          ? {}
          : this.#compactor.compact({ value: value["schema"], file }),
      ]),
    );
  }
}

function operationsOf(at: Located<JsonObject>) {
  return Object.entries(asObject(at.value["paths"])).flatMap(([path, item]) => {
    const pathItem = asObject(item);
    return METHODS.filter((method) => method in pathItem).map((method) => {
      const operation = { value: asObject(pathItem[method]), file: at.file };
      return { method, path, operation, pathItem };
    });
  });
}

function basePath(document: JsonObject): string {
  const [server] = asList(document["servers"]);
  const variables = asObject(asObject(server)["variables"]);
  return String(asObject(variables["basePath"])["default"]);
}

function security(value: unknown): Security {
  const schemes = asList(value).flatMap((scheme) => Object.keys(asObject(scheme)));
  if (schemes.length === 0) return "none";
  if (schemes.includes("appserviceAccessTokenBearer")) return "appservice";
  if (schemes.includes("signedRequest")) return "signature";
  return asList(value).length > schemes.length ? "optional" : "user";
}

function mediaTypes({ value, file }: Located<JsonObject>): Map<string, Located<JsonObject>> {
  const content = Object.entries(asObject(value["content"] ?? {}));
  return new Map(content.map(([type, media]) => [type, { value: asObject(media), file }]));
}

/** The examples of a body: its own, or its schema's. */
function examplesOf(files: SpecFiles, media: Located<JsonObject> | undefined): unknown[] {
  if (media === undefined) return [];
  const { value, file } = media;
  if (value["examples"] !== undefined) {
    return Object.values(asObject(value["examples"])).map((named) => {
      const example = files.resolve({ value: named, file });
      return files.inline({ value: example.value["value"], file: example.file });
    });
  }
  if (value["example"] !== undefined) return [files.inline({ value: value["example"], file })];
  if (value["schema"] === undefined) return [];
  const example = schemaExample(files, { value: value["schema"], file });
  return example === undefined ? [] : [example];
}

/** What a schema gives as its example, or what those of its members make up. */
function schemaExample(files: SpecFiles, at: Located): unknown {
  const { value, file } = files.resolve(at);
  if (value["example"] !== undefined) return files.inline({ value: value["example"], file });
  const of = (item: unknown): unknown => schemaExample(files, { value: item, file });
  if (value["allOf"] !== undefined) {
    const parts = asList(value["allOf"]).map(of).filter(isObject);
    return parts.length === 0 ? undefined : Object.assign({}, ...parts);
  }
  if (isObject(value["properties"])) {
    const members = Object.entries(value["properties"]).map(([key, item]) => [key, of(item)]);
    const known = members.filter(([, item]) => item !== undefined);
    return known.length === 0 ? undefined : Object.fromEntries(known);
  }
  if (isObject(value["items"])) {
    const item = of(value["items"]);
    return item === undefined ? undefined : [item];
  }
  return undefined;
}

/** The enumerated error codes of a schema, without its prose. */
function enumeratedErrcodes(schema: unknown): unknown {
  if (!isObject(schema)) return [];
  const properties = isObject(schema["properties"]) ? schema["properties"] : {};
  const errcode = properties["errcode"];
  const parts = asList(schema["allOf"]).map(enumeratedErrcodes);
  return isObject(errcode) ? [errcode["enum"], ...parts] : parts;
}

function asList(value: unknown): unknown[] {
  return Array.isArray(value) ? value : [];
}

function asSentence(fileName: string): string {
  const words = fileName.replaceAll(/[-_]/g, " ");
  return words.charAt(0).toUpperCase() + words.slice(1);
}

function withoutUndefined<T extends object>(of: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  const entries = Object.entries(of).filter(([, item]) => item !== undefined);
  // Absent optional members and members that are undefined read the same.
  return Object.fromEntries(entries) as { [K in keyof T]: Exclude<T[K], undefined> };
}
