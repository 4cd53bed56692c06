// The door of this room: joins a group of processes, over TCP or MPI, or alone.
//
// Does not: find out which rank this process is (local-group.ts).
import { UserError } from '../base/errors.ts';
import type { Json } from '../base/json.ts';
import type { Group } from './messages.ts';
import { connectMpi } from './mpi-group.ts';
import { messageLayer } from './native-group.ts';
import { connectTcp } from './tcp-group.ts';

export { type Group, LostPeer, type Transfer } from './messages.ts';

export interface GroupOptions {
  readonly rank: number;
  readonly world: number;
  /** A path that all ranks see; its name holds the id of the attempt or job. Rank 0 writes it (TCP only). */
  readonly rendezvous: { readonly file: string };
  readonly transport: 'tcp' | 'mpi';
  /** Id of the attempt or job, equal on all ranks: a rendezvous file of another one is not used. */
  readonly token: string;
  /** What must be equal on all ranks: version, target, precision, hash of the recipe, ... */
  readonly hello: Json;
  /** A peer that gives no sign of life for so long is lost. Signs are sent every quarter of it. */
  readonly heartbeatSeconds?: number;
  /** Name or address by which the others reach this process; by default, ranks on this machine only. */
  readonly host?: string;
  /** How long to wait for all ranks to come. */
  readonly timeoutSeconds?: number;
  /** Gives up connecting; a group that is connected is closed by `close`. */
  readonly signal?: AbortSignal;
  /** false: everything goes through the network, even between processes of one host. */
  readonly sameHost?: boolean;
}

/** Joins the group. UserError: ranks are missing, or do not agree, or this machine lacks what the transport needs. */
export async function connectGroup(options: GroupOptions): Promise<Group> {
  const { rank, world, transport } = options;
  if (!(Number.isInteger(world) && world >= 1 && Number.isInteger(rank) && rank >= 0 && rank < world)) {
    throw new RangeError(`connectGroup: rank and world, got ${rank} and ${world}, expected 0 <= rank < world`);
  }
  if (world === 1 && transport === 'tcp') return soloGroup();
  const layer = messageLayer();
  if ('why' in layer) {
    throw new UserError(`training with ${world} processes needs the native library`, {
      found: layer.why,
      expected: 'a library with the message layer (native/comm/)',
      next: 'install g++ 10 or newer and run: npm run build:native; or train with one process',
    });
  }
  const { hello, heartbeatSeconds = 30 } = options;
  if (transport === 'mpi') return connectMpi(layer.module, { rank, world, hello, heartbeatSeconds });
  return connectTcp(layer.module, {
    rank,
    world,
    file: options.rendezvous.file,
    token: options.token,
    hello,
    host: options.host ?? '127.0.0.1',
    heartbeatSeconds,
    timeoutSeconds: options.timeoutSeconds ?? 120,
    sameHost: options.sameHost ?? true,
    signal: options.signal,
  });
}

/** A group of this process alone; needs no native library and no network. */
export function soloGroup(): Group {
  const nobody = (what: string): never => {
    throw new RangeError(`${what}: this is the only rank`);
  };
  return {
    rank: 0,
    world: 1,
    hosts: ['this host'],
    send: () => nobody('send'),
    receive: () => nobody('receive'),
    wait: (transfers) => {
      if (transfers.length > 0) nobody('wait');
    },
    allGather: (mine) => [mine.slice()],
    barrier: () => {},
    close: () => {},
  };
}
