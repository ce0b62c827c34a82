/**
 * Dot-separated property paths:
 * https://spec.matrix.org/v1.19/appendices/#dot-separated-property-paths
 */
import { isObject } from "./shape.ts";

/**
 * The property names of a path. `\.` and `\\` stand for a dot and a backslash in a name; any
 * other backslash stands for itself.
 */
export function parsePropertyPath(path: string): string[] {
  const names: string[] = [];
  let name = "";
  for (let i = 0; i < path.length; i++) {
    const character = path.charAt(i);
    const next = path.charAt(i + 1);
    if (character === "\\" && (next === "." || next === "\\")) {
      name += next;
      i++;
    } else if (character === ".") {
      names.push(name);
      name = "";
    } else name += character;
  }
  return [...names, name];
}

/** What an object holds at a path; undefined where it holds nothing. */
export function propertyAt(object: unknown, names: readonly string[]): unknown {
  let value = object;
  for (const name of names) {
    if (!isObject(value) || !Object.hasOwn(value, name)) return undefined;
    value = value[name];
  }
  return value;
}
