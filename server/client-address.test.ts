import assert from "node:assert/strict";
import { test } from "node:test";
import { clientAddress, trustedProxies } from "./client-address.ts";

const privateNetwork = trustedProxies(undefined);
const named = trustedProxies(["10.0.0.0/8", "203.0.113.7", "2001:db8::/32"]);

test("V121: whom a request comes from", () => {
  const cases: [string | undefined, string | undefined, typeof named | undefined, string][] = [
    // Nobody is trusted.
    ["198.51.100.1", "1.2.3.4", undefined, "198.51.100.1"],
    ["::ffff:198.51.100.1", undefined, undefined, "198.51.100.1"],
    ["fe80::1%eth0", undefined, undefined, "fe80::1"],
    // A proxy on a private address: the last entry is what it saw.
    ["127.0.0.1", "1.2.3.4", privateNetwork, "1.2.3.4"],
    ["::1", "9.9.9.9, 1.2.3.4", privateNetwork, "1.2.3.4"],
    ["::ffff:10.1.2.3", "1.2.3.4", privateNetwork, "1.2.3.4"],
    ["127.0.0.1", "6.6.6.6, 192.168.0.9", privateNetwork, "192.168.0.9"],
    ["127.0.0.1", undefined, privateNetwork, "127.0.0.1"],
    ["", "1.2.3.4", privateNetwork, "1.2.3.4"],
    // A stranger says what it likes.
    ["198.51.100.1", "1.2.3.4", privateNetwork, "198.51.100.1"],
    ["127.0.0.1", "1.2.3.4", named, "127.0.0.1"],
    // A row of proxies that are named.
    ["10.0.0.1", "6.6.6.6, 1.2.3.4, 203.0.113.7, 10.0.0.2", named, "1.2.3.4"],
    ["10.0.0.1", "203.0.113.7", named, "203.0.113.7"],
    ["2001:db8::5", "2606::1", named, "2606::1"],
    // Forms that proxies write.
    ["127.0.0.1", "1.2.3.4:5678", privateNetwork, "1.2.3.4"],
    ["127.0.0.1", "[2606::1]:5678", privateNetwork, "2606::1"],
    ["127.0.0.1", "::ffff:1.2.3.4", privateNetwork, "1.2.3.4"],
    // Nonsense ends the walk.
    ["127.0.0.1", "unknown", privateNetwork, "127.0.0.1"],
    ["10.0.0.1", "1.2.3.4, evil\r\n, 10.0.0.2", named, "10.0.0.2"],
    ["127.0.0.1", "", privateNetwork, "127.0.0.1"],
  ];
  for (const [peer, forwarded, trusted, expected] of cases) {
    assert.equal(clientAddress(peer, forwarded, trusted), expected, `${peer} ${forwarded}`);
  }
});
