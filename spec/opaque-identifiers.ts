/** Opaque identifiers: https://spec.matrix.org/v1.19/appendices/#opaque-identifiers */

export function isOpaqueIdentifier(value: string, maxChars = 255): boolean {
  return value.length <= maxChars && /^[0-9A-Za-z._~-]+$/.test(value);
}
