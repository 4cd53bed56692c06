// One rank of bench/all-reduce.ts. Its argument says which group it joins, how it sums, and where its orders come from:
// `run N` does N sums, `copy N` as often copies as many bytes within its memory; both answer with milliseconds each.
//
// Does not: check times; the sums are checked once, before the first number.
import { createReadStream, createWriteStream } from 'node:fs';
import { createInterface } from 'node:readline';
import { allReduce } from '../src/parallel/collectives.ts';
import { connectGroup, type GroupOptions } from '../src/parallel/group.ts';
import { ranksFromEnvironment } from '../src/parallel/local-group.ts';
import { MpiGroup } from '../src/parallel/mpi-group.ts';
import { nativeBackend } from '../src/tensor/backend-native.ts';

export interface Job {
  readonly bytes: number;
  readonly group: GroupOptions;
  /** MPI_Allreduce instead of our own sums; rank and world then come from mpirun. */
  readonly byMpi: boolean;
  /** Prefix of the named pipes <prefix>-<rank> for orders and <prefix>-<rank>-out for answers. */
  readonly pipes: string;
}

const { bytes, group: options, byMpi, pipes } = JSON.parse(process.argv[2] as string) as Job;
const place = byMpi ? ranksFromEnvironment(process.env) : undefined;
const group = await connectGroup(place ? { ...options, rank: place.rank, world: place.world } : options);
const backend = nativeBackend({ threads: 1 });
const count = bytes / 4;
const data = new Float32Array(backend.allocate(bytes), 0, count);
const target = new Float32Array(backend.allocate(bytes), 0, count);
const add = (into: Float32Array, from: Float32Array): void => backend.add(into.length, into, from, into);
const sum = (): void => (group instanceof MpiGroup ? group.mpiAllReduce(data) : allReduce(group, data, add));

for (let i = 0; i < count; i++) data[i] = (i % 1000) * (group.rank + 1);
sum();
const factor = (group.world * (group.world + 1)) / 2;
for (let i = 0; i < count; i++) if (data[i] !== (i % 1000) * factor) throw new Error(`wrong sum at ${i}`);
data.fill(0);

const orders = createReadStream(`${pipes}-${group.rank}`);
const answers = createWriteStream(`${pipes}-${group.rank}-out`);
answers.write('"ready"\n');
for await (const line of createInterface({ input: orders })) {
  const [what, times] = line.split(' ');
  const answer: number[] = [];
  for (let i = 0; i < Number(times); i++) {
    group.barrier();
    const began = performance.now();
    if (what === 'run') sum();
    else target.set(data);
    answer.push(performance.now() - began);
  }
  answers.write(`${JSON.stringify(answer)}\n`);
}
group.close();
process.exit(0);
