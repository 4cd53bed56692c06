// What we write, read by a program that knows only the published formats (second_reader.py, and numpy where there is
// one), so that a mistake shared by our writer and our reader shows.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { goldenJson, goldenPath } from '../../test/golden.ts';
import { Random } from '../base/rng.ts';
import { packageRoot } from '../base/version.ts';
import { MegatronReader, MegatronWriter } from './megatron.ts';
import { mergeMegatron } from './merge.ts';
import { Mixture, type MixtureOptions } from './mixture.ts';

const dir = mkdtempSync(join(tmpdir(), 'belay-second-reader-'));
after(() => rmSync(dir, { recursive: true }));

function python(...args: readonly string[]): string {
  const { status, stdout, stderr } = spawnSync('python3', args, { encoding: 'utf8', maxBuffer: 1 << 28 });
  assert.equal(status, 0, stderr);
  return stdout;
}
const has = (...args: readonly string[]): boolean => spawnSync('python3', args).status === 0;
const hasPython = has('--version');
const hasNumpy = hasPython && has('-c', 'import numpy');

interface SecondReading {
  readonly code: number;
  readonly documents: number[][][];
}
const readAgain = (prefix: string): SecondReading =>
  JSON.parse(python(join(packageRoot, 'src/corpus/second_reader.py'), prefix)) as SecondReading;

test('shards of both types, with documents of several sequences, and merged', {
  skip: !hasPython && 'there is no python3',
}, () => {
  const random = new Random(1, 'second reader');
  for (const [type, code, top] of [
    ['uint16', 8, 2 ** 16],
    ['int32', 4, 2 ** 31],
  ] as const) {
    const parts = [0, 1].map((part) => {
      const prefix = join(dir, `${type}-${part}`);
      const writer = new MegatronWriter(prefix, type);
      const documents = Array.from({ length: 50 }, () =>
        Array.from({ length: random.integer(4) }, () =>
          Array.from({ length: random.integer(200) }, () => (random.integer(9) === 0 ? top - 1 : random.integer(top))),
        ),
      );
      for (const sequences of documents) {
        for (const ids of sequences) writer.addSequence(ids);
        writer.endDocument();
      }
      writer.close();
      assert.deepEqual(readAgain(prefix), { code, documents });
      return { prefix, documents };
    });
    const merged = join(dir, `${type}-merged`);
    mergeMegatron(
      parts.map(({ prefix }) => prefix),
      merged,
    );
    assert.deepEqual(readAgain(merged), { code, documents: parts.flatMap(({ documents }) => documents) });
  }
});

test('and it reads the reference as we do', { skip: !hasPython && 'there is no python3' }, () => {
  const all = goldenJson<Record<string, number[][]>>('megatron', 'documents.json');
  for (const name of ['corpus_a', 'corpus_b', 'corpus_c']) {
    assert.deepEqual(
      readAgain(goldenPath('megatron', name)).documents.map((sequences) => sequences.flat()),
      all[name],
    );
  }
  const reader = new MegatronReader(goldenPath('megatron', 'merged'));
  readAgain(goldenPath('megatron', 'merged')).documents.forEach((sequences, d) => {
    assert.deepEqual([...reader.documentTokens(d)], sequences.flat());
  });
  reader.close();
});

const options: MixtureOptions = {
  datasets: ['corpus_a', 'corpus_b', 'corpus_c'].map((name, d) => ({
    path: goldenPath('megatron', name),
    weight: d + 0.1,
  })),
  sequenceLength: 32,
  seed: 7,
  samples: 200,
  goldfish: null,
  documentMask: true,
  eodLossMask: true,
};

/** Composes every sample from the index files alone, by numpy, as Megatron does; prints its tokens. */
const composeByNumpy = `
import glob, hashlib, json, sys, numpy
folder, prefixes, samples = json.loads(sys.argv[1])
load = lambda name: numpy.load(folder + '/' + name, mmap_mode='r')
blend, sets = None, []
for kind, base in json.loads(sys.argv[2]):
    if kind == 'blend':
        blend = load(base + '-dataset_index.npy'), load(base + '-dataset_sample_index.npy')
    else:
        sets.append([load(base + '-' + name + '_index.npy') for name in ('document', 'sample', 'shuffle')])
for name in glob.glob(folder + '/*-description.txt'):
    text = open(name, encoding='utf8').read()
    assert text == json.dumps(json.loads(text), indent=4)
    assert hashlib.md5(text.encode('utf8')).hexdigest() == name.split('/')[-1].split('-')[0]
assert blend[0].dtype == numpy.int16 and blend[1].dtype == numpy.int64
out = []
pairs = [json.loads(line) for line in open(folder + '/documents.json')]
for i in range(samples):
    d = blend[0][i]
    document, sample, shuffle = sets[d]
    assert document.dtype == numpy.int32 and sample.dtype == numpy.int32 and shuffle.dtype == numpy.uint32
    k = shuffle[blend[1][i]]
    (p, a), (q, b) = sample[k], sample[k + 1]
    row = []
    for place in range(p, q + 1):
        ids = pairs[d][document[place]]
        row += ids[a if place == p else 0 : b + 1 if place == q else None]
    out.append(row)
print(json.dumps(out))
`;

test('index files are arrays of numpy, and rows put together from them are ours', {
  skip: !hasNumpy && 'there is no numpy',
}, () => {
  const cacheDir = join(dir, 'cache');
  const mixture = new Mixture({ ...options, cacheDir });
  const all = goldenJson<Record<string, number[][]>>('megatron', 'documents.json');
  const names = ['corpus_a', 'corpus_b', 'corpus_c'];
  writeFileSync(join(cacheDir, 'documents.json'), names.map((name) => JSON.stringify(all[name])).join('\n'));
  const bases = readdirSync(cacheDir)
    .filter((name) => name.endsWith('-description.txt'))
    .map((name) => {
      const text = readFileSync(join(cacheDir, name), 'utf8');
      const base = name.slice(0, -'-description.txt'.length);
      return {
        base,
        kind: name.includes('Blended') ? 'blend' : 'set',
        at: names.findIndex((one) => text.includes(one)),
      };
    })
    .sort((a, b) => a.at - b.at);
  const rows = JSON.parse(
    python(
      '-c',
      composeByNumpy,
      JSON.stringify([cacheDir, names, 200]),
      JSON.stringify(bases.map(({ kind, base }) => [kind, base])),
    ),
  ) as number[][];
  const { tokens, labels } = mixture.batch(0, 200);
  mixture.close();
  assert.equal(rows.length, 200);
  rows.forEach((row, i) => {
    assert.deepEqual([...tokens.subarray(32 * i, 32 * i + 32), labels[32 * i + 31]], row);
  });
});
