import assert from 'node:assert/strict';
import { copyFileSync, cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import fc from 'fast-check';
import { goldenJson, goldenPath } from '../../../test/golden.ts';
import { readFastTextModel } from '../fasttext/model.ts';
import { findLanguageModel } from '../language-id.ts';
import { embedderFiles, openEmbedder } from './embedder.ts';
import { wordChunks } from './fasttext-chunks.ts';
import { findOnnxRuntime } from './onnx-runtime.ts';

const dir = mkdtempSync(join(tmpdir(), 'belay-embedder-'));
after(() => rmSync(dir, { recursive: true }));

/** A folder with the golden encoder. */
function encoderAt(name: string): string {
  const folder = join(dir, name);
  mkdirSync(folder);
  copyFileSync(goldenPath('embedder', 'model.onnx'), join(folder, 'model.onnx'));
  writeFileSync(join(folder, 'tokenizer.json'), gunzipSync(readFileSync(goldenPath('embedder', 'tokenizer.json.gz'))));
  return folder;
}

interface Golden {
  readonly width: number;
  readonly texts: readonly {
    readonly text: string;
    readonly chunks: readonly { readonly vector: readonly number[] }[];
  }[];
}

test('vectors of an encoder are those of PyTorch, chunk by chunk', async () => {
  const { width, texts } = goldenJson<Golden>('embedder', 'vectors.json');
  const embedder = await openEmbedder(encoderAt('golden'));
  assert.equal(embedder.kind, 'onnx');
  assert.equal(embedder.width, width);
  assert.equal(await openEmbedder(join(dir, 'golden')), embedder);
  let compared = 0;
  for (const { text, chunks } of texts) {
    const vectors = await embedder.embed(text);
    assert.equal(vectors.length, chunks.length);
    for (const [c, { vector }] of chunks.entries()) {
      for (const [i, want] of vector.entries()) {
        const got = vectors[c]?.[i] as number;
        assert.ok(Math.abs(got - want) < 2e-5, `${text.slice(0, 20)}, chunk ${c}, ${i}: ${got}, PyTorch has ${want}`);
        compared++;
      }
    }
  }
  assert.ok(compared > 300);
});

test('asking for fewer chunks, or for more later, gives the same vectors', async () => {
  const embedder = await openEmbedder(encoderAt('parts'));
  const text = goldenJson<Golden>('embedder', 'vectors.json').texts[6]?.text as string;
  const first = await embedder.embed(text, 1);
  assert.equal(first.length, 1);
  const all = [...(await embedder.embed(text))];
  assert.equal(all.length, 5);
  assert.equal(all[0], first[0]);
  await embedder.embed('something else');
  assert.deepEqual([...(await embedder.embed(text))], all);
  assert.deepEqual([...(await embedder.embed(text, 2))], all.slice(0, 2));
  const asked = ['a', text, 'a', text, text].map((one, i) => embedder.embed(one, i === 3 ? 3 : undefined));
  assert.deepEqual(
    (await Promise.all(asked)).map(({ length }) => length),
    [1, 5, 1, 3, 5],
  );
});

test('a fastText model is an embedder: the mean of its rows, 512 words at a time', async () => {
  const path = findLanguageModel();
  assert.ok(path !== undefined, 'npm ci brings fasttext.wasm.js');
  const embedder = await openEmbedder(path);
  assert.equal(embedder.kind, 'fasttext');
  assert.equal(embedder.width, 16);
  const words = Array.from({ length: 1100 }, (_, i) => `word${i % 97}`);
  const vectors = await embedder.embed(`  ${words.join(' ')}\n`);
  const model = readFastTextModel(path);
  const want = [0, 512, 1024].map((at) => model.vector(words.slice(at, at + 512).join(' ')));
  assert.deepEqual([...vectors], want);
  assert.deepEqual(await embedder.embed(''), [model.vector('')]);
  assert.notEqual(embedder.sha256, (await openEmbedder(encoderAt('other'))).sha256);
});

test('chunks of words hold every word once, in order', () => {
  const piece = fc.constantFrom('a', 'bc', ' ', '\n', '\t', '\u00a0', 'é', '\u0000');
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 30 }), fc.integer({ min: 1, max: 4 }), (pieces, size) => {
      const text = pieces.join('');
      const wordsOf = (of: string): string[] =>
        of
          .replaceAll('\u0000', ' ')
          .split(/[ \n\t]+/)
          .filter((word) => word !== '');
      const chunks = wordChunks(text, size, Number.POSITIVE_INFINITY);
      assert.equal(chunks.join(''), text);
      assert.deepEqual(chunks.flatMap(wordsOf), wordsOf(text));
      for (const chunk of chunks.slice(0, -1)) assert.equal(wordsOf(chunk).length, size);
      assert.deepEqual(wordChunks(text, size, 2), chunks.slice(0, 2));
    }),
  );
});

test('what is missing or no embedder is said, with what to do', async () => {
  assert.throws(
    () => findOnnxRuntime([join(dir, 'package.json')]),
    /ONNX Runtime is not installed[\s\S]*--ignore-scripts/,
  );
  const broken = join(dir, 'node_modules', 'onnxruntime-node');
  mkdirSync(broken, { recursive: true });
  writeFileSync(join(broken, 'index.js'), 'throw new Error("libonnxruntime.so.1 is missing");');
  assert.throws(
    () => findOnnxRuntime([join(dir, 'package.json')]),
    /onnxruntime-node is installed and does not load[\s\S]*libonnxruntime/,
  );
  assert.throws(() => embedderFiles(join(dir, 'nothing')), /there is no embedder at/);
  const empty = join(dir, 'empty');
  mkdirSync(empty);
  assert.throws(() => embedderFiles(empty), /no tokenizer\.json/);
  writeFileSync(join(dir, 'text.bin'), 'this is no model');
  await assert.rejects(async () => openEmbedder(join(dir, 'text.bin')), /is no embedder/);
  cpSync(encoderAt('cut'), join(dir, 'damaged'), { recursive: true });
  writeFileSync(join(dir, 'damaged', 'model.onnx'), 'no graph');
  await assert.rejects(async () => openEmbedder(join(dir, 'damaged')), /ONNX Runtime cannot load/);
  const strange = encoderAt('strange');
  const tokenizer = JSON.parse(readFileSync(join(strange, 'tokenizer.json'), 'utf8')) as {
    readonly model: { readonly vocab: unknown[] };
  };
  tokenizer.model.vocab.push(['a word that the model has no row for', -9]);
  writeFileSync(join(strange, 'tokenizer.json'), JSON.stringify(tokenizer));
  await assert.rejects(async () => openEmbedder(strange), /the encoder in .* does not run/);
});
