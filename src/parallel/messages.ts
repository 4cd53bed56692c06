// What a group of processes offers to the code that trains: messages, and how a lost peer is told.
//
// Does not: communicate; tcp-group.ts and mpi-group.ts open groups, native-group.ts passes messages.
import { exitCodes, UserError } from '../base/errors.ts';
import type { CommLoss } from '../base/native.ts';

/** A message on its way; `wait` for it exactly once. */
export interface Transfer {
  readonly id: number;
}

/** N processes that exchange messages. Messages match by (peer, tag), both sides in the order of posting. */
export interface Group {
  /** 0 .. world - 1 */
  readonly rank: number;
  readonly world: number;
  /** Host of each rank, for messages. */
  readonly hosts: readonly string[];
  /** Starts sending and returns at once; `data` must stay unchanged until `wait`. `tag`: whole, below 2^30. */
  send(to: number, tag: number, data: Float32Array | Uint8Array): Transfer;
  /** Starts receiving exactly `data.byteLength` bytes into `data` and returns at once. */
  receive(from: number, tag: number, data: Float32Array | Uint8Array): Transfer;
  /** Blocks the thread until all are done. Throws LostPeer; an Error where a message has another length. */
  wait(transfers: readonly Transfer[]): void;
  /** Everyone's bytes in rank order (lengths may differ); blocks. All ranks call it. */
  allGather(mine: Uint8Array): Uint8Array[];
  /** Blocks until all ranks are here. */
  barrier(): void;
  /** Leaves in good order: peers that still wait for us get LostPeer "left". Twice is once. */
  close(): void;
}

/** Tags from here on belong to the group itself. */
export const firstOwnTag = 2 ** 30;

export interface Loss {
  readonly rank: number;
  readonly how: CommLoss;
  /** The rank that noticed it first, -1 where we did. */
  readonly reporter: number;
  /** Of silence. */
  readonly seconds: number;
  /** What the system said, or ''. */
  readonly detail: string;
}

const next =
  'see what ended that process (its log, out of memory?), then run again: it resumes from the last checkpoint';

/** Another process of the group is gone, so the run cannot go on; it can be resumed. */
export class LostPeer extends UserError {
  readonly rank: number;
  readonly host: string;
  readonly how: CommLoss;
  override readonly exitCode = exitCodes.lost;

  constructor(loss: Loss, self: number, hosts: readonly string[]) {
    const host = hosts[loss.rank] ?? 'an unknown host';
    super(lossText(loss, self, hosts), {
      found: foundText(loss, self, hosts),
      next: loss.how === 'left' ? 'see why that process ended early (its log), then run again' : next,
    });
    this.name = 'LostPeer';
    this.rank = loss.rank;
    this.host = host;
    this.how = loss.how;
  }
}

function lossText(loss: Loss, self: number, hosts: readonly string[]): string {
  if (loss.rank === self) return `rank ${self} on ${hosts[self]} (this process) was given up by the others`;
  // MPI does not always say whose connection failed.
  const who = loss.rank < 0 ? 'a rank' : `rank ${loss.rank} on ${hosts[loss.rank]}`;
  return loss.how === 'left' ? `${who} has left the run` : `${who} was lost`;
}

function foundText(loss: Loss, self: number, hosts: readonly string[]): string {
  const detail = loss.detail === '' ? '' : ` (${loss.detail})`;
  const texts: Record<CommLoss, string> = {
    closed: `its connection closed${detail}`,
    silent: `no sign of life for ${loss.seconds.toFixed(loss.seconds < 10 ? 1 : 0)} s`,
    left: 'it closed its side in good order while this process still waited for it',
    garbled: `it sent something that is no message${detail}`,
    unreadable: `its messages could not be read${detail}`,
    transport: `MPI reported an error${detail}`,
    gone: 'the group was closed in this process',
  };
  const noticed =
    loss.reporter < 0 || loss.reporter === self ? '' : `, says rank ${loss.reporter} on ${hosts[loss.reporter]}`;
  return texts[loss.how] + noticed;
}
