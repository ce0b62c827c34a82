/** Writes the configuration down: what is in force without its secrets, and an example with all settings. */
import { stringify } from "yaml";
import type { Config } from "./config.ts";
import type { Section, SectionList, Setting } from "./schema.ts";
import { settings } from "./settings.ts";

const MASK = "********";

/** All settings as they are in force, as YAML; secrets are masked. */
export function dumpConfig(config: Config): string {
  return stringify(maskConfig(config), { lineWidth: 0 });
}

/** A copy without secrets, and without settings that have no value. */
export function maskConfig(config: Config): Record<string, unknown> {
  return maskSection(settings, config);
}

/**
 * A configuration file in which every setting stands with its meaning and its default, commented out
 * but for the given ones.
 */
export function exampleConfig(given: { server_name: string; public_baseurl?: string }): string {
  const head = [
    "# The configuration of Gomin. Every setting is optional: what is commented out shows the default.",
    "# Each can also be given by an environment variable, as in GOMIN_DATABASE_URL; secrets also by a",
    "# file, as in database: {url_file: /run/secrets/database-url}. Check it with: gomin config check",
  ];
  const body = Object.entries(settings.fields).flatMap(([name, field]) => {
    const value: unknown = Reflect.get(given, name);
    if (field.kind !== "setting" || value === undefined) return ["", ...comment(name, field, "")];
    return ["", ...wrap(field.doc).map((line) => `# ${line}`), `${name}: ${JSON.stringify(value)}`];
  });
  return [...head, ...body, ""].join("\n");
}

/** How a value is written for a reader: on one line, as YAML. */
export function shownDefault(field: Setting<unknown>): string {
  const { fallback, type } = field;
  if (fallback === undefined) return "";
  if (typeof fallback === "number" && type.startsWith("duration")) return shownDuration(fallback);
  if (typeof fallback === "number" && type.startsWith("size")) return shownSize(fallback);
  if (typeof fallback === "string") {
    return /^[A-Za-z/][\w./-]*$/.test(fallback) ? fallback : JSON.stringify(fallback);
  }
  return JSON.stringify(fallback).replaceAll(",", ", ");
}

function maskSection(section: Section, values: object): Record<string, unknown> {
  const shown = Object.entries(section.fields).map(([name, field]) => {
    const value: unknown = Reflect.get(values, name);
    return [name, maskField(field, value)] as const;
  });
  return Object.fromEntries(shown.filter(([, value]) => value !== undefined));
}

function maskField(field: Setting<unknown> | Section | SectionList, value: unknown): unknown {
  if (field.kind === "section") {
    const members = maskSection(field, value as object);
    return Object.keys(members).length === 0 ? undefined : members;
  }
  if (field.kind === "list") {
    return (value as object[]).map((item) => maskSection(field.item, item));
  }
  return field.isSecret && typeof value === "string" ? maskSecret(value) : value;
}

/** Of a URL only the password is secret; where it points to helps. */
function maskSecret(secret: string): string {
  const url = URL.parse(secret);
  if (url === null || url.host === "") return MASK;
  if (url.password !== "") url.password = MASK;
  else if (url.username !== "") url.username = MASK;
  // Parameters may hold a password too.
  if (url.search !== "") url.search = MASK;
  return url.href;
}

function comment(
  name: string,
  field: Setting<unknown> | Section | SectionList,
  indent: string,
): string[] {
  // Within a section the meaning stays a comment when the section is put into force.
  const mark = indent === "" ? "#" : `#${indent}#`;
  const doc = wrap(field.doc).map((line) => `${mark} ${line}`);
  if (field.kind === "setting")
    return [...doc, `#${indent}${name}: ${shownDefault(field)}`.trimEnd()];
  const [first, rest] =
    field.kind === "list" ? [`${indent}  - `, `${indent}    `] : [undefined, `${indent}  `];
  const section = field.kind === "list" ? field.item : field;
  const lines = Object.entries(section.fields).flatMap(([key, inner], i) => {
    const [own = "", ...more] = comment(key, inner, rest).toReversed();
    const isFirst = i === 0 && first !== undefined && inner.kind === "setting";
    const key_ = isFirst ? own.replace(`#${rest}`, `#${first}`) : own;
    return [...more.toReversed(), key_];
  });
  return [...doc, `#${indent}${name}:`, ...lines];
}

function wrap(text: string): string[] {
  const lines: string[] = [];
  for (const word of text.split(" ")) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + word.length < 90)
      lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines;
}

function shownDuration(ms: number): string {
  for (const [unit, factor] of [
    ["d", 86_400_000],
    ["h", 3_600_000],
    ["m", 60_000],
    ["s", 1000],
  ] as const) {
    if (ms % factor === 0 && ms >= factor) return `${ms / factor}${unit}`;
  }
  return `${ms}ms`;
}

function shownSize(bytes: number): string {
  for (const [unit, factor] of [
    ["G", 1024 ** 3],
    ["M", 1024 ** 2],
    ["K", 1024],
  ] as const) {
    if (bytes % factor === 0 && bytes >= factor) return `${bytes / factor}${unit}`;
  }
  return String(bytes);
}
