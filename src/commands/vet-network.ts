// What nodes say of each other: exchanges of pairs and of all, many times over, and how far their clocks differ.
//
// The first rank of each node measures; further ones take part in the exchanges of all.
//
// Does not: open the group (vet.ts), or judge (cluster/vetting/judge.ts).
import { pairingRounds } from '../cluster/vetting/pairing.ts';
import type { Pass } from '../cluster/vetting/measurements.ts';
import { Random } from '../base/rng.ts';
import { allReduce } from '../parallel/collectives.ts';
import type { Group } from '../parallel/group.ts';

export type NetworkPass = Pick<Pass, 'pairs' | 'collectives'> & { clock?: Pass['clock'] };

const tags = { latency: 1, transfer: 2, clock: 3 } as const;
const bytes = { latency: 1024, transfer: 512 << 10, reduce: 256 << 10 } as const;
/** Of each kind. The first one of a pair or of all is not counted: buffers grow, connections wake up. */
const exchanges = 20;

export interface NetworkOptions {
  /** Name of each rank's node. */
  readonly nodes: readonly string[];
  /** Equal on all ranks: decides who meets whom. */
  readonly seed: string;
  readonly pass: number;
  readonly without: readonly string[];
}

/** One pass over the network. All ranks call it; takes a second or two where nodes are well. */
export function measureNetwork(group: Group, { nodes, seed, pass, without }: NetworkOptions): NetworkPass {
  const leaders = nodes.flatMap((node, rank) => (nodes.indexOf(node) === rank ? [rank] : []));
  const result: NetworkPass = { pairs: [], collectives: collectives(group) };
  if (leaders.length < 2) return result;
  if (!without.includes('clock')) result.clock = clockOffset(group, leaders);
  if (without.includes('latency') && without.includes('transfer')) return result;
  const seats = [...leaders];
  // Other partners each time: who was slow once may have met a sick node.
  new Random(pass, seed).shuffle(seats);
  for (const round of pairingRounds(seats.length)) {
    group.barrier();
    const ranks = round.map(([a, b]) => [seats[a] as number, seats[b] as number] as const);
    const own = ranks.find((pair) => pair.includes(group.rank));
    if (!own) continue;
    const peer = own[0] === group.rank ? own[1] : own[0];
    result.pairs.push({
      peer: nodes[peer] as string,
      latency: exchange(group, peer, tags.latency, bytes.latency),
      transfer: exchange(group, peer, tags.transfer, bytes.transfer),
    });
  }
  group.barrier();
  return result;
}

/**
 * Milliseconds from sending so many bytes until a word comes back. Both ends ask in turn, so each direction is timed by who
 * sends in it, and neither begins before the other is through.
 */
function exchange(group: Group, peer: number, tag: number, length: number): number[] {
  const bulk = new Uint8Array(length);
  const word = new Uint8Array(8);
  const ask = (): void => group.wait([group.receive(peer, tag, word), group.send(peer, tag, bulk)]);
  const answer = (): void => {
    group.wait([group.receive(peer, tag, bulk)]);
    group.wait([group.send(peer, tag, word)]);
  };
  return timed(ask, { before: group.rank < peer ? [] : [answer], after: group.rank < peer ? [answer] : [] });
}

function collectives(group: Group): Pass['collectives'] {
  if (group.world === 1) return {};
  const data = new Float32Array(bytes.reduce / 4);
  const add = (into: Float32Array, from: Float32Array): void => {
    for (let i = 0; i < into.length; i++) into[i] = (into[i] as number) + (from[i] as number);
  };
  const word = new Uint8Array(64);
  const together = { before: [() => group.barrier()], after: [] };
  return {
    allGather: timed(() => group.allGather(word), together),
    allReduce: timed(() => allReduce(group, data, add), together),
  };
}

interface Around {
  readonly before: readonly (() => void)[];
  readonly after: readonly (() => void)[];
}

/** Samples of `once`; what is done around it is not timed. */
function timed(once: () => void, { before, after }: Around): number[] {
  const samples: number[] = [];
  for (let i = 0; i <= exchanges; i++) {
    rest();
    for (const step of before) step();
    const start = performance.now();
    once();
    if (i > 0) samples.push(performance.now() - start);
    for (const step of after) step();
  }
  return samples;
}

const nobody = new Int32Array(new SharedArrayBuffer(4));

/** Samples in a row would all lie within one time slice of whoever disturbs them. */
function rest(): void {
  Atomics.wait(nobody, 0, 0, 3);
}

/**
 * How far this node's clock is from that of the first one, which answers each node in turn. Of a few questions the one
 * that was answered soonest counts; the answer was given somewhere between asking and hearing.
 */
function clockOffset(group: Group, leaders: readonly number[]): Pass['clock'] | undefined {
  const [first = 0, ...others] = leaders;
  const questions = 5;
  const time = (): Uint8Array => new Uint8Array(Float64Array.of(Date.now()).buffer);
  if (group.rank === first) {
    const asked = new Uint8Array(8);
    for (const other of others) {
      // Its turn.
      group.wait([group.send(other, tags.clock, time())]);
      for (let i = 0; i < questions; i++) {
        group.wait([group.receive(other, tags.clock, asked)]);
        group.wait([group.send(other, tags.clock, time())]);
      }
    }
    return { offsetMilliseconds: 0, within: 0 };
  }
  if (!others.includes(group.rank)) return undefined;
  const answer = new Uint8Array(8);
  group.wait([group.receive(first, tags.clock, answer)]);
  let best = { offsetMilliseconds: 0, within: Number.POSITIVE_INFINITY };
  for (let i = 0; i < questions; i++) {
    const [before, start] = [Date.now(), performance.now()];
    group.wait([group.send(first, tags.clock, time()), group.receive(first, tags.clock, answer)]);
    const within = (performance.now() - start) / 2;
    const there = new Float64Array(answer.buffer)[0] as number;
    if (within < best.within) best = { offsetMilliseconds: before + within - there, within };
  }
  return best;
}
