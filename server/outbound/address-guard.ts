/** Which IP addresses may be connected to on behalf of others: decided by CIDR on bytes. */
import { isIP } from "node:net";
import ipaddr from "ipaddr.js";

export interface AddressGuard {
  /** @param address an IP address in any standard spelling; anything else is refused */
  allows(address: string): boolean;
}

interface Range {
  bytes: readonly number[];
  bits: number;
}

/** How an IPv6 address may stand for an IPv4 one: where a prefix of bytes is, and where the four bytes are. */
const DISGUISES: readonly { at: number; prefix: readonly number[]; ipv4At: number }[] = [
  { at: 0, prefix: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], ipv4At: 12 }, // ::/96, compatible
  { at: 0, prefix: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff], ipv4At: 12 }, // ::ffff:0:0/96, mapped
  { at: 0, prefix: [0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0], ipv4At: 12 }, // ::ffff:0:0:0/96, translated
  { at: 0, prefix: [0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0], ipv4At: 12 }, // 64:ff9b::/96, NAT64
  { at: 0, prefix: [0x20, 0x02], ipv4At: 2 }, // 2002::/16, 6to4
  { at: 0, prefix: [0x20, 0x01, 0, 0], ipv4At: 4 }, // 2001::/32, the server of Teredo
  { at: 8, prefix: [0, 0, 0x5e, 0xfe], ipv4At: 12 }, // ISATAP
  { at: 8, prefix: [2, 0, 0x5e, 0xfe], ipv4At: 12 }, // ISATAP
];
const TEREDO = parseRange("2001::/32");
/** NAT64 with a prefix length that only its network knows. */
const LOCAL_NAT64 = parseRange("64:ff9b:1::/48");

/**
 * @param options.denied ranges such as `10.0.0.0/8`, or single addresses
 * @param options.allowed exceptions from them
 */
export function createAddressGuard(options: {
  denied: readonly string[];
  allowed: readonly string[];
}): AddressGuard {
  const denied = options.denied.map(parseRange);
  const allowed = options.allowed.map(parseRange);
  return {
    allows(address) {
      const [bare = ""] = address.split("%");
      if (isIP(bare) === 0) return false;
      const bytes = ipaddr.parse(bare).toByteArray();
      if (isIn(allowed, bytes)) return true;
      if (contains(LOCAL_NAT64, bytes)) return false;
      return [bytes, ...ipv4Within(bytes)].every((b) => isIn(allowed, b) || !isIn(denied, b));
    },
  };
}

/** Every IPv4 address that packets to an IPv6 address may end at. */
function ipv4Within(bytes: readonly number[]): number[][] {
  if (bytes.length !== 16 || isUnspecifiedOrLoopback(bytes)) return [];
  const found = DISGUISES.filter(({ at, prefix }) =>
    prefix.every((b, i) => bytes[at + i] === b),
  ).map(({ ipv4At }) => bytes.slice(ipv4At, ipv4At + 4));
  // The client's address in Teredo is inverted.
  if (contains(TEREDO, bytes)) found.push(bytes.slice(12).map((b) => b ^ 0xff));
  return found;
}

/** `::` and `::1` are in ::/96, and stand for themselves. */
function isUnspecifiedOrLoopback(bytes: readonly number[]): boolean {
  return bytes.slice(0, 15).every((b) => b === 0) && (bytes[15] ?? 0) <= 1;
}

function parseRange(text: string): Range {
  const [address = "", bits] = text.split("/");
  if (isIP(address) === 0) throw new TypeError(`not an IP range: ${text}`);
  const bytes = ipaddr.parse(address).toByteArray();
  return { bytes, bits: bits === undefined ? bytes.length * 8 : Number(bits) };
}

function isIn(ranges: readonly Range[], bytes: readonly number[]): boolean {
  return ranges.some((range) => contains(range, bytes));
}

function contains({ bytes: network, bits }: Range, bytes: readonly number[]): boolean {
  if (network.length !== bytes.length) return false;
  const whole = bits >> 3;
  for (let i = 0; i < whole; i += 1) if (network[i] !== bytes[i]) return false;
  const rest = bits & 7;
  if (rest === 0) return true;
  const mask = (0xff00 >> rest) & 0xff;
  return ((network[whole] ?? 0) & mask) === ((bytes[whole] ?? 0) & mask);
}
