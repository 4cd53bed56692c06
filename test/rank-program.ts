// What the processes of the tests of src/parallel do; started by test/ranks.ts with a scenario and its options.
//
// Prints what happened as lines of JSON, `{"ready": true}` first once the group stands. A UserError or Error ends as a
// line with its fields, so that the test can look at it.
import { writeSync } from 'node:fs';
import { UserError } from '../src/base/errors.ts';
import { Random } from '../src/base/rng.ts';
import { allReduce } from '../src/parallel/collectives.ts';
import { connectGroup, type Group, type GroupOptions, LostPeer } from '../src/parallel/group.ts';
import { ranksFromEnvironment } from '../src/parallel/local-group.ts';
import { MpiGroup } from '../src/parallel/mpi-group.ts';

export interface Rank {
  /** One of `scenarios` below, or several with commas in between. */
  readonly scenario: string;
  readonly group: GroupOptions;
  readonly count?: number;
  readonly bytes?: number;
  readonly seed?: number;
  readonly milliseconds?: number;
  /** Under mpirun: each rank says another hello. */
  readonly disagree?: boolean;
}

const rank = JSON.parse(process.argv[2] as string) as Rank;

let by: number | undefined;

function say(line: object): void {
  writeSync(1, `${JSON.stringify({ ...line, by })}\n`);
}

/** Bytes that depend on all of these; both ends of a message compute them. */
function content(seed: number, from: number, to: number, message: number, bytes: number): Uint8Array {
  const out = new Uint8Array(bytes);
  let state = (seed * 73_856_093) ^ (from * 19_349_663) ^ (to * 83_492_791) ^ (message * 2_654_435) ^ bytes;
  for (let i = 0; i < bytes; i++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) | 0;
    out[i] = state >>> 24;
  }
  return out;
}

const sleep = (milliseconds: number): void => {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds);
};

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}

/** Every pair exchanges messages of random sizes and tags; each end posts them in an order of its own per tag. */
function traffic(group: Group, { count = 60, seed = 1, bytes = 1 << 20 }: Rank): void {
  const plans = (from: number, to: number): { tag: number; bytes: number; message: number }[] => {
    const random = new Random(seed, 'traffic', from, to);
    return Array.from({ length: count }, (_, message) => ({
      tag: Math.floor(random.real() * 4),
      bytes: random.real() < 0.15 ? Math.floor(random.real() * bytes) : Math.floor(random.real() ** 3 * 40_000),
      message,
    }));
  };
  const mine = new Random(seed, 'order', group.rank);
  const others = Array.from({ length: group.world }, (_, peer) => peer).filter((peer) => peer !== group.rank);
  const waiting: { ids: Parameters<Group['wait']>[0][number]; check?: () => boolean; what: string }[] = [];
  // One list of things to do per (peer, direction, tag) keeps the order that matching needs.
  const lists: (() => void)[][] = [];
  for (const peer of others) {
    for (let tag = 0; tag < 4; tag++) {
      lists.push(
        plans(group.rank, peer)
          .filter((plan) => plan.tag === tag)
          .map((plan) => () => {
            const data = content(seed, group.rank, peer, plan.message, plan.bytes);
            waiting.push({ ids: group.send(peer, tag, data), what: `send ${JSON.stringify(plan)} to ${peer}` });
          }),
        plans(peer, group.rank)
          .filter((plan) => plan.tag === tag)
          .map((plan) => () => {
            const data = new Uint8Array(plan.bytes);
            waiting.push({
              ids: group.receive(peer, tag, data),
              check: () => sameBytes(data, content(seed, peer, group.rank, plan.message, plan.bytes)),
              what: `receive ${JSON.stringify(plan)} from ${peer}`,
            });
          }),
      );
    }
  }
  for (let open = lists.filter((list) => list.length > 0); open.length > 0; open = open.filter((l) => l.length > 0)) {
    mine.pick(open).shift()?.();
    // Now and then the other side is ahead, and its messages come before their receives.
    if (mine.real() < 0.02) sleep(3);
  }
  let wrong = 0;
  while (waiting.length > 0) {
    const some = waiting.splice(Math.floor(mine.real() * waiting.length), 1 + Math.floor(mine.real() * 5));
    group.wait(some.map(({ ids }) => ids));
    for (const { check, what } of some) {
      if (!check || check()) continue;
      wrong++;
      say({ wrong: what });
    }
  }
  say({ messages: 2 * count * others.length, wrong });
}

const othersOf = ({ rank, world }: Group): number[] =>
  Array.from({ length: world }, (_, peer) => peer).filter((peer) => peer !== rank);

/** What a function throws, as a line; `{}` where it returns. */
function thrown(work: () => void): object {
  const began = performance.now();
  try {
    work();
    return {};
  } catch (error) {
    return { ...described(error), seconds: (performance.now() - began) / 1000 };
  }
}

/** allGather with lengths that differ by rank and round, empty ones among them, between barriers. */
function gather(group: Group, { count = 20, seed = 1 }: Rank): void {
  let wrong = 0;
  const lengthOf = (peer: number, round: number): number => {
    const random = new Random(seed, 'lengths', peer, round);
    return random.real() < 0.2 ? 0 : Math.floor(random.real() ** 4 * 300_000);
  };
  for (let round = 0; round < count; round++) {
    const mine = content(seed, group.rank, 0, round, lengthOf(group.rank, round));
    const all = group.allGather(mine);
    if (all.length !== group.world) wrong++;
    all.forEach((part, peer) => {
      if (!sameBytes(part, content(seed, peer, 0, round, lengthOf(peer, round)))) wrong++;
    });
    if (round % 3 === 0) group.barrier();
  }
  say({ gathered: count, wrong });
}

/** Everyone sends everyone `bytes` at once; receives are posted first, or `milliseconds` after the sends were done. */
function big(group: Group, { bytes = 1 << 26, milliseconds, count = 1 }: Rank): void {
  let wrong = 0;
  const others = othersOf(group);
  for (let round = 0; round < count; round++) {
    const data = new Float32Array(bytes / 4);
    for (let i = 0; i < data.length; i++) data[i] = (i * 7 + group.rank + round) % 1009;
    const came = others.map(() => new Float32Array(bytes / 4));
    const receive = (): ReturnType<Group['receive']>[] =>
      others.map((peer, i) => group.receive(peer, 9, came[i] as Float32Array));
    const send = (): ReturnType<Group['send']>[] => others.map((peer) => group.send(peer, 9, data));
    if (milliseconds === undefined) group.wait([...receive(), ...send()]);
    else {
      group.wait(send());
      sleep(milliseconds);
      group.wait(receive());
    }
    for (const [i, peer] of others.entries()) {
      const from = came[i] as Float32Array;
      for (let at = 0; at < from.length; at++) if (from[at] !== (at * 7 + peer + round) % 1009) wrong++;
    }
  }
  say({ exchanged: bytes, wrong });
}

/** Waits for messages that never come, then tries everything again. */
function lose(group: Group): void {
  const receives = othersOf(group).map((peer) => group.receive(peer, 1, new Float32Array(1 << 20)));
  const first = thrown(() => group.wait(receives));
  say({ first: true, ...first });
  say({ later: true, ...thrown(() => group.wait([group.send((group.rank + 1) % group.world, 2, new Uint8Array(9))])) });
  say({ gather: true, ...thrown(() => group.allGather(new Uint8Array(5))) });
  const began = performance.now();
  group.close();
  say({ closeSeconds: (performance.now() - began) / 1000 });
}

/** Exchanges large messages until a peer is lost. */
function loseInTraffic(group: Group): void {
  const data = new Float32Array(1 << 21).fill(group.rank);
  const came = othersOf(group).map(() => new Float32Array(data.length));
  let rounds = 0;
  const first = thrown(() => {
    for (;;) {
      const others = othersOf(group);
      group.wait([
        ...others.map((peer, i) => group.receive(peer, 3, came[i] as Float32Array)),
        ...others.map((peer) => group.send(peer, 3, data)),
      ]);
      // What completed is right, whatever else happens.
      for (const [i, peer] of others.entries()) {
        const from = came[i] as Float32Array;
        for (let at = 0; at < from.length; at++) {
          if (from[at] !== peer) throw new Error(`wrong from ${peer} in round ${rounds}`);
        }
      }
      if (rounds++ === 2) say({ flowing: true });
    }
  });
  say({ first: true, ...first });
}

/** Computes, without a look at messages, for longer than the heartbeat; then all meet. */
function busy(group: Group, { milliseconds = 1000 }: Rank): void {
  if (group.rank === 0) for (const began = performance.now(); performance.now() - began < milliseconds; );
  group.barrier();
  say({ met: true });
}

/** Rank 0 says something and leaves; the others hear it, then miss it, and still reach each other. */
function leave(group: Group): void {
  const word = new Uint8Array(50_000).fill(7);
  if (group.rank === 0) {
    group.wait(othersOf(group).map((peer) => group.send(peer, 1, word)));
    return;
  }
  sleep(100);
  const heard = new Uint8Array(50_000);
  group.wait([group.receive(0, 1, heard)]);
  say({ heard: sameBytes(heard, word) });
  say({ first: true, ...thrown(() => group.wait([group.receive(0, 1, heard)])) });
  say({ later: true, ...thrown(() => group.wait([group.send(0, 1, heard)])) });
  const other = group.rank === 1 ? 2 : 1;
  const sent = group.send(other, 5, word);
  group.wait([group.receive(other, 5, heard), sent]);
  say({ among: true });
}

/** Ranks close one after the other, `milliseconds` apart, the last one first where that is negative. */
function closeInOrder(group: Group, { milliseconds = 100 }: Rank): void {
  group.barrier();
  sleep(milliseconds < 0 ? -milliseconds * (group.world - 1 - group.rank) : milliseconds * group.rank);
}

/** A message of another length than the receiver expects. */
function wrongLength(group: Group, { bytes = 100 }: Rank): void {
  const data = new Uint8Array(group.rank === 0 ? bytes : bytes + 1);
  const done = group.rank === 0 ? group.send(1, 4, data) : group.receive(0, 4, data);
  say({ first: true, ...thrown(() => group.wait([done])) });
  group.barrier();
}

function addInto(into: Float32Array, from: Float32Array): void {
  for (let i = 0; i < into.length; i++) (into[i] as number) += from[i] as number;
}

/** The parts of all ranks for one sum, of a random length below 10^6; whole numbers in every other round. */
function summands({ world }: Group, seed: number, round: number): Float32Array[] {
  const length = round < 3 ? round : new Random(seed, 'length', round).integer(10 ** (4 + (round % 3)));
  return Array.from({ length: world }, (_, peer) => {
    const random = new Random(seed, 'values', peer, round);
    const part = new Float32Array(length);
    for (let i = 0; i < length; i++) part[i] = round % 2 === 0 ? random.integer(2001) - 1000 : random.real() * 2 - 1;
    return part;
  });
}

/** Sums of random sizes have the bits of the tree over the ranks. */
function sum(group: Group, { count = 6, seed = 1 }: Rank): void {
  const tree = (parts: readonly Float32Array[]): Float32Array => {
    if (parts.length === 1) return (parts[0] as Float32Array).slice();
    const split = [1, 2, 4, 8].filter((n) => n < parts.length).at(-1) as number;
    const left = tree(parts.slice(0, split));
    addInto(left, tree(parts.slice(split)));
    return left;
  };
  let wrong = 0;
  for (let round = 0; round < count; round++) {
    const parts = summands(group, seed, round);
    const mine = (parts[group.rank] as Float32Array).slice();
    allReduce(group, mine, addInto);
    if (!sameBytes(new Uint8Array(mine.buffer), new Uint8Array(tree(parts).buffer))) wrong++;
  }
  say({ sums: count, wrong });
}

/** Ours against MPI_Allreduce: whole numbers exactly, others to 1e-6 of the sum of their sizes. */
function oracle(group: Group, { count = 6, seed = 1 }: Rank): void {
  if (!(group instanceof MpiGroup)) throw new Error('the oracle needs MPI');
  let wrong = 0;
  let worst = 0;
  for (let round = 0; round < count; round++) {
    const parts = summands(group, seed, round);
    const ours = (parts[group.rank] as Float32Array).slice();
    const theirs = ours.slice();
    allReduce(group, ours, addInto);
    group.mpiAllReduce(theirs);
    for (let i = 0; i < ours.length; i++) {
      const difference = Math.abs((ours[i] as number) - (theirs[i] as number));
      const size = parts.reduce((total, part) => total + Math.abs(part[i] as number), 0);
      worst = Math.max(worst, size === 0 ? 0 : difference / size);
      if (difference > (round % 2 === 0 ? 0 : 1e-6 * size)) wrong++;
    }
  }
  say({ compared: count, wrong, worst });
}

const scenarios: Record<string, (group: Group, rank: Rank) => void> = {
  traffic,
  gather,
  big,
  lose,
  loseInTraffic,
  busy,
  leave,
  closeInOrder,
  wrongLength,
  sum,
  oracle,
};

function described(error: unknown): object {
  const { name, message } = error as Error;
  const lost = error instanceof LostPeer ? { rank: error.rank, host: error.host, how: error.how } : {};
  return { error: name, message, user: error instanceof UserError, ...lost };
}

try {
  // Under mpirun all have the same arguments.
  const place = rank.group.transport === 'mpi' ? ranksFromEnvironment(process.env) : undefined;
  const own = place && {
    rank: place.rank,
    world: place.world,
    ...(rank.disagree ? { hello: { target: `rank ${place.rank}` } } : {}),
  };
  const group = await connectGroup({ ...rank.group, ...own });
  by = group.rank;
  say({ ready: true, hosts: group.hosts, pid: process.pid });
  for (const name of rank.scenario.split(',')) {
    const run = scenarios[name];
    if (!run) throw new Error(`no scenario ${name}`);
    run(group, rank);
  }
  group.close();
  say({ closed: true });
} catch (error) {
  say(described(error));
}
