/** Imports run one way, a folder has one entry, a package has one door. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { suite, test } from "node:test";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../", import.meta.url));
const MAIN = "server/main.ts";

/** What each folder may import, itself included. */
const MAY_IMPORT: Record<string, readonly string[]> = {
  spec: ["spec"],
  storage: ["spec", "storage"],
  server: ["spec", "storage", "server"],
  clientapi: ["spec", "storage", "server", "clientapi"],
  federation: ["spec", "storage", "server", "federation"],
  [MAIN]: ["spec", "storage", "server", "clientapi", "federation"],
};

/** The files that may import a package. One that is not named here has one file as its door, any file. */
const DOORS: Record<string, RegExp> = {
  koa: /^server\/http\.ts$/,
  "@koa/router": /^server\/http\.ts$/,
  pg: /^storage\/database\.ts$/,
  kysely: /^storage\//,
  tweetnacl: /^spec\/signing\.ts$/,
  "@noble/curves": /^spec\/signing\.ts$/,
  "sodium-native": /^spec\/signing(?:-worker)?\.ts$/,
  minio: /^storage\//,
  // Read in one file and written in another.
  yaml: /^server\/config\//,
  // Neither does anything outside the process.
  "@opentelemetry/api": /./,
  "lru-cache": /./,
};

/** Implementations of ports that main.ts chooses, and tests choose as it does. */
const PORTS = ["server/bus/in-process-bus.ts", "server/ephemeral/in-process-store.ts"];
/** Those that the doctor tries, before a server is started with them. */
const TRIED = ["server/bus/nats-bus.ts", "server/ephemeral/redis-store.ts"];
const DOCTOR = "server/cli/doctor-checks.ts";

/** What `spec/` may use of Node: nothing that reaches out of the process. */
const PURE = ["node:buffer", "node:crypto", "node:module", "node:util"];

interface Import {
  from: string;
  /** A file of ours, from the root of the repository; or a package, or a module of Node. */
  to: string;
  kind: "file" | "package" | "node";
}

const files = Object.keys(MAY_IMPORT)
  .filter((name) => name !== MAIN)
  .flatMap(listSources);
const imports = files.flatMap(importsOf);
const packages = imports.filter(({ kind }) => kind === "package");

suite("imports", () => {
  test("there are imports to look at", () => {
    assert.ok(imports.some(({ to }) => to === "spec/errors.ts"));
    assert.ok(packages.some(({ to }) => to === "kysely"));
  });

  test("run one way: spec, storage, server, clientapi and federation, main", () => {
    const wrong = imports.filter(({ from, to, kind }) => {
      const allowed = MAY_IMPORT[from] ?? MAY_IMPORT[folderOf(from)] ?? [];
      return kind === "file" && !allowed.includes(folderOf(to));
    });
    assert.deepEqual(wrong.map(show), []);
  });

  test("nothing imports main.ts, which puts the parts together", () => {
    const wrong = imports.filter(({ from, to }) => to === MAIN && !isTest(from));
    assert.deepEqual(wrong.map(show), []);
  });

  test("reach a folder of server/ through its entry, the file of its name", () => {
    const wrong = imports.filter(({ from, to }) => {
      const subject = /^server\/([^/]+)\//.exec(to)?.[1];
      if (subject === undefined || from === MAIN) return false;
      if (from.startsWith(`server/${subject}/`)) return false;
      if (isTest(from) && PORTS.includes(to)) return false;
      if (from === DOCTOR && TRIED.includes(to)) return false;
      return to !== `server/${subject}/${subject}.ts` && !(isTest(from) && isTest(to));
    });
    assert.deepEqual(wrong.map(show), []);
  });

  test("of what only tests need stand in tests only", () => {
    const wrong = imports.filter(
      ({ from, to, kind }) => kind === "file" && isTest(to) && !isTest(from),
    );
    assert.deepEqual(wrong.map(show), []);
  });

  test("reach a package through its one door", () => {
    const ofProgram = packages.filter(({ from }) => !isTest(from));
    const wrong = ofProgram.filter(({ from, to }) => {
      const door = DOORS[to];
      if (door !== undefined) return !door.test(from);
      return ofProgram.some((other) => other.to === to && other.from !== from);
    });
    assert.deepEqual(wrong.map(show), []);
  });

  test("give spec/ nothing of Node that reaches out of the process", () => {
    const wrong = imports.filter(
      ({ from, to, kind }) =>
        folderOf(from) === "spec" && !isTest(from) && kind === "node" && !PURE.includes(to),
    );
    assert.deepEqual(wrong.map(show), []);
  });
});

test("spec/ has no clock, no chance and no environment", () => {
  const impure =
    /\bDate\.now\(|\bnew Date\(\)|\bMath\.random\(|\brandomBytes\(|\bprocess\.|\bperformance\./;
  const wrong = files.filter(
    (file) => folderOf(file) === "spec" && !isTest(file) && impure.test(withoutComments(file)),
  );
  assert.deepEqual(wrong, []);
});

function listSources(folder: string): string[] {
  return readdirSync(join(ROOT, folder), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".ts"))
    .map((name) => `${folder}/${name}`)
    .toSorted();
}

/** Every import of a file: static, dynamic, re-exported, of types, and the files that workers run. */
function importsOf(file: string): Import[] {
  const text = withoutComments(file);
  const specifiers = [
    /^(?:import|export)\b[^;"']*?\bfrom\s*["']([^"']+)["']/gm,
    /^import\s*["']([^"']+)["']/gm,
    /\b(?:import|require)\(\s*["']([^"']+)["']\s*\)/g,
    /\bnew URL\(\s*["']([^"']+\.ts)["']\s*,\s*import\.meta\.url/g,
  ].flatMap((pattern) => [...text.matchAll(pattern)].map((match) => match[1] ?? ""));
  return specifiers.map((specifier) => ({ from: file, ...target(file, specifier) }));
}

function withoutComments(file: string): string {
  const text = readFileSync(join(ROOT, file), "utf8");
  return text.replaceAll(/^\s*\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, "");
}

function target(file: string, specifier: string): Pick<Import, "to" | "kind"> {
  if (specifier.startsWith(".")) return { to: join(dirname(file), specifier), kind: "file" };
  if (specifier.startsWith("node:")) return { to: specifier, kind: "node" };
  const segments = specifier.split("/").slice(0, specifier.startsWith("@") ? 2 : 1);
  return { to: segments.join("/"), kind: "package" };
}

/** Tests and what only they use. */
function isTest(file: string): boolean {
  return /\.test\.ts$|(?:^|[/-])(?:testing|fixtures)\.ts$|^test\//.test(file);
}

function folderOf(file: string): string {
  return file.split("/")[0] ?? "";
}

function show({ from, to }: Import): string {
  return `${from} imports ${to}`;
}
