// Where a rank listens and what it tells the others, given the name of its host.
//
// A name is looked up here and its address announced, so that all ranks mean the same network, and nothing else of this
// host is listened on. Debian lists a host's own name with 127.0.1.1, and a name may stand for several networks: then
// only the others know which address is meant, and the name is announced.
//
// Does not: listen.
import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import { hostname, networkInterfaces } from 'node:os';

export interface OwnAddress {
  /** Addresses to listen on, the first that works. */
  readonly listen: readonly string[];
  /** Name or address by which the others connect. */
  readonly announce: string;
}

export type Interfaces = Readonly<Record<string, readonly { readonly address: string; readonly internal: boolean }[]>>;

/** `host` is a name or an address of this host; where the name is unknown here, the system's own name counts too. */
export async function ownAddress(host: string): Promise<OwnAddress> {
  if (isIP(host)) return { listen: [host], announce: host };
  let known: string | undefined;
  for (const name of new Set([host, hostname()])) {
    const found = await lookup(name, { all: true }).catch(() => []);
    const address = theOne(
      found.map((entry) => entry.address),
      networkInterfaces() as Interfaces,
    );
    if (address !== undefined) return { listen: [address], announce: address };
    if (found.length > 0) known ??= name;
  }
  return { listen: ['::', '0.0.0.0'], announce: known ?? host };
}

/** The first of `found` where all of them that others can reach are of one interface of this host. */
export function theOne(found: readonly string[], interfaces: Interfaces): string | undefined {
  const ours = Object.entries(interfaces).flatMap(([name, entries]) =>
    entries.filter(({ internal }) => !internal).map(({ address }) => ({ name, address })),
  );
  // An address of the link alone (fe80::) means nothing to a process that does not name its interface.
  const usable = found.flatMap((address) =>
    address.startsWith('fe80:') ? [] : ours.filter((entry) => entry.address === address),
  );
  return new Set(usable.map(({ name }) => name)).size === 1 ? usable[0]?.address : undefined;
}
