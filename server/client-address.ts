/** The address of a client, seen through the proxies that the configuration names. */
import { BlockList, isIP } from "node:net";

/** Proxies of one's own machine and network, trusted where a listener names none. */
const PRIVATE = [
  "127.0.0.0/8",
  "10.0.0.0/8",
  "172.16.0.0/12",
  "192.168.0.0/16",
  "169.254.0.0/16",
  "100.64.0.0/10",
  "::1/128",
  "fc00::/7",
  "fe80::/10",
];

/** Which peers may say for whom they speak. */
export interface TrustedProxies {
  readonly peers: BlockList;
  /** Whether an entry of the header that is itself a trusted proxy is passed over. */
  readonly skipsProxies: boolean;
}

/** @param ranges CIDR ranges or addresses; undefined for private networks */
export function trustedProxies(ranges: readonly string[] | undefined): TrustedProxies {
  const peers = new BlockList();
  for (const range of ranges ?? PRIVATE) {
    const [address = "", bits] = range.split("/");
    const family = isIP(address) === 6 ? "ipv6" : "ipv4";
    peers.addSubnet(
      address,
      bits === undefined ? (family === "ipv6" ? 128 : 32) : Number(bits),
      family,
    );
  }
  return { peers, skipsProxies: ranges !== undefined };
}

/**
 * @param peer the address that the socket is connected to; empty on a unix socket
 * @param forwarded `X-Forwarded-For`, looked at only where `trusted` is given and holds the peer
 * @returns an address without brackets, port or zone; IPv4 also where it came mapped into IPv6
 */
export function clientAddress(
  peer: string | undefined,
  forwarded: string | string[] | undefined,
  trusted: TrustedProxies | undefined,
): string {
  let at = peer === undefined || peer === "" ? "127.0.0.1" : plain(peer);
  if (trusted === undefined || forwarded === undefined || !holds(trusted, at)) return at;
  // Each proxy appends the peer it saw, so that only the last entries are true.
  for (const entry of String(forwarded).split(",").toReversed()) {
    const address = plain(withoutPort(entry.trim()));
    if (isIP(address) === 0) return at;
    at = address;
    if (!trusted.skipsProxies || !holds(trusted, at)) return at;
  }
  return at;
}

function holds(trusted: TrustedProxies, address: string): boolean {
  const family = isIP(address);
  return family !== 0 && trusted.peers.check(address, family === 6 ? "ipv6" : "ipv4");
}

function withoutPort(entry: string): string {
  if (entry.startsWith("[")) return entry.slice(1, entry.indexOf("]"));
  return /^\d+\.\d+\.\d+\.\d+:\d+$/.test(entry) ? entry.slice(0, entry.indexOf(":")) : entry;
}

function plain(address: string): string {
  if (!address.includes(":")) return address;
  const zone = address.indexOf("%");
  const bare = zone < 0 ? address : address.slice(0, zone);
  return /^::ffff:\d+\.\d+\.\d+\.\d+$/i.test(bare) ? bare.slice(7) : bare;
}
