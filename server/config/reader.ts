/** Reads a YAML document by the table of settings, and says where it is wrong. */
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import {
  type Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  parseDocument,
} from "yaml";
import {
  type Fields,
  InvalidSetting,
  isMap as isPlainMap,
  type Section,
  type SectionList,
  type Setting,
} from "./schema.ts";
import { suggest } from "./suggest.ts";

/** One mistake and where it stands. */
export interface Problem {
  /** The file, or the environment variable. */
  source: string;
  /** Counted from 1; undefined where it stands in no file. */
  line: number | undefined;
  /** As in `media.s3.bucket` or `listeners[0].port`; empty for the file as a whole. */
  key: string;
  message: string;
}

/** A value found in the file or the environment, or nothing. */
interface Found {
  value: unknown;
  source: string;
  node?: Node | undefined;
}

export class Reader {
  readonly problems: Problem[] = [];
  readonly #file: string;
  readonly #base: string;
  readonly #env: Readonly<Record<string, string | undefined>>;
  readonly #lines = new LineCounter();
  readonly #document: Document.Parsed;

  /**
   * @param file what messages call the text
   * @param base the folder that relative paths start from
   */
  constructor(
    text: string,
    file: string,
    base: string,
    env: Readonly<Record<string, string | undefined>>,
  ) {
    this.#file = file;
    this.#base = base;
    this.#env = env;
    this.#document = parseDocument(text, { lineCounter: this.#lines, prettyErrors: false });
    for (const error of this.#document.errors) {
      const line = this.#lines.linePos(error.pos[0]).line;
      this.problems.push({ source: file, line, key: "", message: error.message });
    }
  }

  /** Reads all; mistakes are left in `problems`. */
  read(root: Section): unknown {
    if (this.problems.length > 0) return {};
    return this.#section(root, this.#document.contents ?? undefined, []);
  }

  #section(section: Section, node: Node | undefined, path: readonly string[]): unknown {
    const members = this.#members(section.fields, node, path);
    const result: Record<string, unknown> = {};
    for (const [name, field] of Object.entries(section.fields)) {
      const member = members.get(name);
      const at = [...path, name];
      if (field.kind === "section") result[name] = this.#section(field, member, at);
      else if (field.kind === "list") result[name] = this.#list(field, member, at);
      else result[name] = this.#setting(field, member, members.get(`${name}_file`), at);
    }
    return result;
  }

  /** The nodes of a map, by key. */
  #members(fields: Fields, node: Node | undefined, path: readonly string[]): Map<string, Node> {
    const members = new Map<string, Node>();
    const map = this.#resolve(node);
    if (map === undefined) return members;
    if (!isMap(map)) {
      this.#complain(map, path, "expected keys and values");
      return members;
    }
    for (const { key, value } of map.items) {
      const name = isScalar(key) ? String(key.value) : "";
      const at = isScalar(key) ? key : map;
      const known = knownNames(fields);
      if (!known.includes(name)) {
        const meant = suggest(name, known);
        const hint = meant === undefined ? "" : `; did you mean ${meant}?`;
        this.#complain(at, [...path, name], `there is no such setting${hint}`);
      }
      const resolved = this.#resolve(value as Node | null);
      if (resolved !== undefined) members.set(name, resolved);
    }
    return members;
  }

  #list(field: SectionList, node: Node | undefined, path: readonly string[]): unknown[] {
    const found = this.#fromEnvironment(path, false);
    if (found !== undefined) return this.#plainList(field, found, path);
    if (node === undefined) {
      return field.fallback.map((item) =>
        this.#plainSection(field.item, { value: item, source: this.#file }, path),
      );
    }
    if (!isSeq(node)) {
      this.#complain(node, path, "expected a list");
      return [];
    }
    return node.items.map((item, i) => {
      const at = [...path.slice(0, -1), `${path.at(-1)}[${i}]`];
      return this.#section(field.item, this.#resolve(item as Node), at);
    });
  }

  /** A list given by the environment, which has no lines. */
  #plainList(field: SectionList, found: Found, path: readonly string[]): unknown[] {
    if (!Array.isArray(found.value)) {
      this.#complainOf(found, path, "expected a list");
      return [];
    }
    return found.value.map((value: unknown, i) =>
      this.#plainSection(field.item, { ...found, value }, [
        ...path.slice(0, -1),
        `${path.at(-1)}[${i}]`,
      ]),
    );
  }

  #plainSection(section: Section, found: Found, path: readonly string[]): unknown {
    const { value } = found;
    if (!isPlainMap(value)) {
      this.#complainOf(found, path, "expected keys and values");
      return {};
    }
    for (const name of Object.keys(value)) {
      const known = knownNames(section.fields);
      if (!known.includes(name)) {
        const meant = suggest(name, known);
        const hint = meant === undefined ? "" : `; did you mean ${meant}?`;
        this.#complainOf(found, [...path, name], `there is no such setting${hint}`);
      }
    }
    const result: Record<string, unknown> = {};
    for (const [name, field] of Object.entries(section.fields)) {
      const at = [...path, name];
      const member = Object.hasOwn(value, name) ? value[name] : undefined;
      const here: Found | undefined =
        member === undefined || member === null ? undefined : { ...found, value: member };
      if (field.kind === "setting") {
        result[name] = here === undefined ? field.fallback : this.#value(field, here, at);
      } else if (field.kind === "list") {
        result[name] = this.#plainList(field, here ?? { ...found, value: field.fallback }, at);
      } else result[name] = this.#plainSection(field, here ?? { ...found, value: {} }, at);
    }
    return result;
  }

  #setting(
    field: Setting<unknown>,
    node: Node | undefined,
    fileNode: Node | undefined,
    path: readonly string[],
  ): unknown {
    const found = this.#fromEnvironment(path, field.isText) ?? this.#fromNode(node);
    if (!field.isSecret)
      return found === undefined ? field.fallback : this.#value(field, found, path);
    const filePath = withSuffix(path);
    const file = this.#fromEnvironment(filePath, true) ?? this.#fromNode(fileNode);
    if (file === undefined) {
      return found === undefined ? field.fallback : this.#value(field, found, path);
    }
    if (found !== undefined && found.source === file.source) {
      this.#complainOf(file, filePath, `stands beside ${path.at(-1)}; give one of them`);
      return field.fallback;
    }
    // The environment goes before the file, whichever of the two forms it has.
    if (found !== undefined && found.node === undefined && file.node !== undefined) {
      return this.#value(field, found, path);
    }
    const secret = this.#readSecret(file, filePath);
    return secret === undefined ? field.fallback : this.#value(field, secret, filePath);
  }

  #readSecret(found: Found, path: readonly string[]): Found | undefined {
    if (typeof found.value !== "string") {
      this.#complainOf(found, path, "expected a path");
      return undefined;
    }
    try {
      const value = readFileSync(resolve(this.#base, found.value), "utf8").trim();
      return { ...found, value };
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      this.#complainOf(found, path, `cannot be read: ${reason}`);
      return undefined;
    }
  }

  #value(field: Setting<unknown>, found: Found, path: readonly string[]): unknown {
    try {
      return field.read(found.value, { base: this.#base });
    } catch (error) {
      if (!(error instanceof InvalidSetting)) throw error;
      this.#complainOf(found, path, error.message);
      return field.fallback;
    }
  }

  #fromNode(node: Node | undefined): Found | undefined {
    if (node === undefined) return undefined;
    return { value: node.toJS(this.#document), source: this.#file, node };
  }

  #fromEnvironment(path: readonly string[], isText: boolean): Found | undefined {
    const source = environmentName(path);
    const text = this.#env[source];
    if (text === undefined || text === "") return undefined;
    if (isText) return { value: text, source };
    const parsed = parseDocument(text);
    if (parsed.errors.length === 0) return { value: parsed.toJS(), source };
    this.#complainOf({ value: text, source }, path, "is not YAML");
    return undefined;
  }

  /** The node itself; undefined for what is absent or null. */
  #resolve(node: Node | null | undefined): Node | undefined {
    const target = isAlias(node) ? node.resolve(this.#document) : node;
    if (target === null || target === undefined) return undefined;
    return isScalar(target) && target.value === null ? undefined : target;
  }

  #complain(node: Node, path: readonly string[], message: string): void {
    this.#complainOf({ value: undefined, source: this.#file, node }, path, message);
  }

  #complainOf({ source, node }: Found, path: readonly string[], message: string): void {
    const start = node?.range?.[0];
    const line = start === undefined ? undefined : this.#lines.linePos(start).line;
    this.problems.push({ source, line, key: path.join("."), message });
  }
}

/** `media.s3.secret_key` is `GOMIN_MEDIA_S3_SECRET_KEY`. */
export function environmentName(path: readonly string[]): string {
  return `GOMIN_${path.join("_").toUpperCase()}`;
}

/** Every environment variable that the settings have. */
export function environmentNames(root: Section, path: readonly string[] = []): string[] {
  return Object.entries(root.fields).flatMap(([name, field]) => {
    const at = [...path, name];
    if (field.kind === "section") return environmentNames(field, at);
    const own = environmentName(at);
    return field.kind === "setting" && field.isSecret ? [own, `${own}_FILE`] : [own];
  });
}

function knownNames(fields: Fields): string[] {
  return Object.entries(fields).flatMap(([name, field]) =>
    field.kind === "setting" && field.isSecret ? [name, `${name}_file`] : [name],
  );
}

function withSuffix(path: readonly string[]): string[] {
  return [...path.slice(0, -1), `${path.at(-1)}_file`];
}
