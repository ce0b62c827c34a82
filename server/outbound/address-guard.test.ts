import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { loadConfig } from "../config/config.ts";
import { createAddressGuard } from "./address-guard.ts";

const denied = loadConfig({ cwd: "/nonexistent", env: {} }).config.federation.ip_range_denylist;
const guard = createAddressGuard({ denied, allowed: [] });

test("S01: private addresses are denied in every spelling and disguise", () => {
  const addresses = words(`
    127.0.0.1 127.255.255.254 0.0.0.0 0.1.2.3 10.0.0.1 100.64.0.1 169.254.169.254 172.16.0.1
    172.31.255.255 192.168.1.1 192.0.0.8 198.18.0.1 224.0.0.1 255.255.255.255 :: ::1
    0:0:0:0:0:0:0:1 fe80::1 fe80::1%eth0 febf::1 fec0::1 fc00::1 fd12:3456::1 ff02::1
    ::ffff:127.0.0.1 ::ffff:7f00:1 ::127.0.0.1 ::7f00:1 ::a00:1 ::ffff:0:127.0.0.1
    64:ff9b::a00:1 64:ff9b::127.0.0.1 64:ff9b:1::a00:1 64:ff9b:1:abcd::808:808 2002:a00:1::
    2002:7f00:1::1 2002:a9fe:a9fe::1 2001:0:a00:1:: 2001:0:808:808:0:0:f5ff:fffe
    2a00::5efe:10.0.0.1 2a00::200:5efe:7f00:1`);
  for (const address of addresses) assert.equal(guard.allows(address), false, address);
});

test("S01: what is no address in a standard spelling is denied", () => {
  const texts = [
    "",
    "127.1",
    "0x7f000001",
    "2130706433",
    "0",
    "localhost",
    "１２７.0.0.1",
    "[::1]",
  ];
  for (const text of texts) assert.equal(guard.allows(text), false, text);
});

test("public addresses are allowed", () => {
  const addresses = words(`
    1.1.1.1 8.8.8.8 11.0.0.1 100.63.255.255 100.128.0.1 172.15.0.1 172.32.0.1 192.167.0.1
    193.0.0.1 223.255.255.255 2606:4700::1111 2a00:1450:4001:81b::200e ::ffff:8.8.8.8
    64:ff9b::808:808 2002:808:808::1 2001:0:808:808:0:0:f7f7:f7f7 2a00::5efe:8.8.8.8`);
  for (const address of addresses) assert.equal(guard.allows(address), true, address);
});

test("an exception holds for itself alone, in disguise too", () => {
  const excepting = createAddressGuard({ denied, allowed: ["10.1.0.0/16", "::1", "fd00::/8"] });
  for (const address of ["10.1.2.3", "::ffff:10.1.2.3", "64:ff9b::10.1.2.3", "::1", "fd00::1"]) {
    assert.equal(excepting.allows(address), true, address);
  }
  for (const address of ["10.2.0.1", "::ffff:10.2.0.1", "127.0.0.1", "fc00::1"]) {
    assert.equal(excepting.allows(address), false, address);
  }
});

test("a range holds the addresses that share its first bits, and no others", () => {
  fc.assert(
    fc.property(fc.nat(0xffffffff), fc.nat(0xffffffff), fc.nat(32), (network, address, bits) => {
      const narrow = createAddressGuard({ denied: [`${dotted(network)}/${bits}`], allowed: [] });
      const shares = bits === 0 || network >>> (32 - bits) === address >>> (32 - bits);
      assert.equal(narrow.allows(dotted(address)), !shares);
    }),
  );
});

test("a range that is none is refused at start", () => {
  assert.throws(() => createAddressGuard({ denied: ["10.0.0.0.0/8"], allowed: [] }), TypeError);
});

function dotted(address: number): string {
  return [24, 16, 8, 0].map((shift) => (address >>> shift) & 0xff).join(".");
}

function words(text: string): string[] {
  return text.trim().split(/\s+/);
}
