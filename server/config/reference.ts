/**
 * The manual's page of settings, made of their table: docs/configuration.md.
 *
 * `node server/config/reference.ts` writes it; a test holds that it is current.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { shownDefault } from "./dump.ts";
import { environmentName } from "./reader.ts";
import type { Section, SectionList, Setting } from "./schema.ts";
import { settings } from "./settings.ts";

export const REFERENCE_FILE = fileURLToPath(
  new URL("../../docs/configuration.md", import.meta.url),
);

const BEGIN = "<!-- settings: written by node server/config/reference.ts -->";

/** The page with its settings made anew; what stands before them is kept. */
export function renderPage(page: string): string {
  const [intro = ""] = page.split(BEGIN);
  return `${intro}${BEGIN}\n\n${renderSettings()}\n`;
}

function renderSettings(): string {
  const fields = Object.entries(settings.fields);
  const top = fields.filter(([, field]) => field.kind === "setting");
  const others = fields.filter(([, field]) => field.kind !== "setting");
  return [
    "## At the top level",
    "",
    ...table(top.map(([name, field]) => row([name], field as Setting<unknown>))),
    ...others.flatMap(([name, field]) => [
      "",
      `## \`${name}\``,
      "",
      field.doc,
      "",
      ...table(rowsOf([name], field as Section | SectionList)),
    ]),
  ].join("\n");
}

function rowsOf(path: readonly string[], field: Section | SectionList): string[] {
  const section = field.kind === "list" ? field.item : field;
  const at = field.kind === "list" ? [...path.slice(0, -1), `${path.at(-1)}[]`] : path;
  return Object.entries(section.fields).flatMap(([name, inner]) => {
    const here = [...at, name];
    return inner.kind === "setting" ? [row(here, inner)] : rowsOf(here, inner);
  });
}

function table(rows: string[]): string[] {
  return ["| setting | meaning | takes | default |", "| --- | --- | --- | --- |", ...rows];
}

function row(path: readonly string[], field: Setting<unknown>): string {
  const key = path.join(".");
  const value = shownDefault(field);
  const shown = value === "" ? "" : `\`${value.replaceAll("|", "\\|")}\``;
  const secret = field.isSecret ? ` A secret: also \`${key}_file\`.` : "";
  const variable = key.includes("[]") ? "" : `<br>\`${environmentName(path)}\``;
  return `| \`${key}\`${variable} | ${field.doc}${secret} | ${field.type} | ${shown} |`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  writeFileSync(REFERENCE_FILE, renderPage(readFileSync(REFERENCE_FILE, "utf8")));
}
