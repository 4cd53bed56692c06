// `belay trace` on a small line made by hand: ledger, tokenizer, token files, a model that was trained, a release.
import assert from 'node:assert/strict';
import { cpSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { after, before, test } from 'node:test';
import { runCli } from '../../test/run-cli.ts';
import type { Document } from '../base/document.ts';
import { sha256 } from '../base/hashing.ts';
import type { Json } from '../base/json.ts';
import { JsonlWriter } from '../base/jsonl.ts';
import type { LedgerRow } from '../base/ledger.ts';
import { readManifest, writeManifest } from '../base/manifest.ts';
import { silentLog } from '../base/progress.ts';
import { parseRecipe } from '../base/recipe.ts';
import { TokenBatches } from '../corpus/batches.ts';
import { packDocuments } from '../corpus/pack.ts';
import type { Conversation } from '../posttrain/conversations.ts';
import { conversationsName } from '../posttrain/conversations-stage.ts';
import { sftData } from '../posttrain/sft.ts';
import { Tokenizer } from '../tokenizer/bpe.ts';
import { writeTokenizerFiles } from '../tokenizer/tokenizer-files.ts';
import { trainBpe } from '../tokenizer/train.ts';
import { hasChanges, somethingChanged, tracePath, traceText, type TraceNode } from './trace.ts';
import { documentTraceText, traceDocument } from './trace-document.ts';

const scratch = mkdtempSync(join(tmpdir(), 'belay-trace-'));
after(() => rmSync(scratch, { recursive: true }));
const run = join(scratch, 'run');
const at = (...names: string[]): string => join(run, ...names);

const recipe = parseRecipe(
  {
    name: 'by-hand',
    seed: 5,
    model: { layers: 1, hidden: 16, intermediate: 16, heads: 2, kvHeads: 1, headDim: 8, vocabularySize: 340 },
    pretrain: { steps: 6, sequenceLength: 16, batchSize: 3, peakLearningRate: 1e-3 },
  },
  'test',
);

/** metrics.jsonl of so many steps, `skipped` of which were passed over. */
function metrics(steps: number, skipped: readonly number[] = []): string {
  const lines = Array.from({ length: steps }, (_, i) => ({
    step: i + 1,
    ...(skipped.includes(i + 1) ? {} : { clip: 1 }),
  }));
  return lines.map((line) => `${JSON.stringify(line)}\n`).join('');
}

/** 12 documents; number 4 alone contains 漢, number 7 is dropped, number 9 has a held-out part. */
const texts = Array.from({ length: 12 }, (_, i) =>
  i === 4 ? '漢'.repeat(20) : `page ${i} says hello ${'and more '.repeat(i % 4)}`,
);

async function makeRun(dir: string): Promise<void> {
  const folder = (name: string): string => {
    mkdirSync(join(dir, name), { recursive: true });
    return join(dir, name);
  };
  const manifest = (
    name: string,
    kind: string,
    inputs: string[],
    part: Json = {},
    facts: Record<string, Json> = {},
  ): void => {
    const folders = Object.fromEntries(inputs.map((input) => [input, join(dir, input)]));
    writeManifest(join(dir, name), {
      kind,
      version: 1,
      recipe: part,
      inputs: folders,
      facts,
      exclude: ['metrics.jsonl'],
    });
  };
  writeFileSync(join(folder('source'), 'crawl.warc'), 'as if');
  manifest('source', 'source', [], { kind: 'warc' }, { documents: 12 });

  const ledger = new JsonlWriter(join(folder('documents'), 'ledger-00000.jsonl.gz'));
  const train = new JsonlWriter(join(dir, 'documents', 'train.jsonl.gz'));
  const validation = new JsonlWriter(join(dir, 'documents', 'validation.jsonl.gz'));
  for (const [i, text] of texts.entries()) {
    const common = { id: `doc/${i}`, language: 'eng', source: 'test', licence: i % 2 ? 'CC0-1.0' : 'MIT' };
    const document: Document = { ...common, text };
    const bytesIn = text.length;
    const row: LedgerRow =
      i === 7
        ? {
            ...common,
            verdict: 'dropped',
            step: 'exact-dedup',
            reason: 'duplicate',
            detail: 'of doc/3',
            bytesIn,
            bytesOut: 0,
          }
        : { ...common, verdict: 'kept', url: `https://example.org/${i}`, bytesIn, bytesOut: bytesIn };
    await ledger.write(row);
    if (row.verdict === 'kept') await train.write(document);
    if (i === 9) await validation.write({ ...document, id: `${document.id}#3` });
  }
  await ledger.close();
  await train.close();
  await validation.close();
  manifest('documents', 'documents', ['source']);

  writeTokenizerFiles(folder('tokenizer'), await trainBpe(texts, 340, silentLog));
  manifest('tokenizer', 'tokenizer', ['documents']);
  await packDocuments({
    dir: join(dir, 'tokens'),
    documentsDir: join(dir, 'documents'),
    tokenizerDir: join(dir, 'tokenizer'),
    recipe,
    log: silentLog,
  });
  writeFileSync(join(folder('pretrain'), 'model.safetensors'), 'weights');
  writeFileSync(join(dir, 'pretrain', 'metrics.jsonl'), metrics(6));
  const { model, pretrain, seed } = recipe;
  manifest('pretrain', 'model', ['tokenizer', 'tokens'], { model, pretrain, seed } as unknown as Json, { loss: 1.5 });

  const provenance = join(folder('release'), 'provenance');
  mkdirSync(provenance);
  for (const name of ['source', 'documents', 'tokenizer', 'tokens', 'pretrain']) {
    cpSync(join(dir, name, 'manifest.json'), join(provenance, `${name}.json`));
  }
  writeFileSync(join(provenance, 'note.json'), '{"not":"a manifest"}');
  writeFileSync(join(dir, 'release', 'model.safetensors'), 'rounded weights');
  manifest('release', 'release', ['pretrain', 'tokenizer']);
  writeFileSync(join(dir, 'recipe.json'), JSON.stringify(recipe));
}

before(() => makeRun(run));

const kindsOf = (node: TraceNode): string[] => [node.kind ?? '?', ...node.inputs.flatMap(kindsOf)];
const find = (node: TraceNode, kind: string): TraceNode => {
  const search = (at: TraceNode): TraceNode | undefined =>
    at.kind === kind ? at : at.inputs.map(search).find((found) => found !== undefined);
  const found = search(node);
  assert.ok(found, `no ${kind} in the tree`);
  return found;
};

test('a file leads to its artefact and down to the source, with hashes and licences', async () => {
  const trace = await tracePath(at('release', 'model.safetensors'), { verify: true });
  assert.deepEqual(trace.file, {
    path: 'model.safetensors',
    bytes: 15,
    sha256: sha256('rounded weights'),
    state: 'unchanged',
  });
  assert.deepEqual(kindsOf(trace.artefact), [
    ...['release', 'model', 'tokenizer', 'documents', 'source', 'tokens', 'documents', 'source'],
    ...['tokenizer', 'documents', 'source', 'tokenizer', 'documents', 'source'],
  ]);
  // Eleven of twelve documents were kept: six even ones, and five odd ones without number 7.
  assert.deepEqual(find(trace.artefact, 'documents').licences, { MIT: 6, 'CC0-1.0': 5 });
  assert.equal(find(trace.artefact, 'source').id, readManifest(at('source')).id);
  assert.equal(hasChanges(trace), false);
  const text = traceText(trace);
  assert.match(text, /as the manifest says/);
  assert.match(text, /└─ source: source/);
  assert.match(text, /\(as above\)/);
});

test('a run folder stands for its last artefact; logs are no part of one; other places are refused', async () => {
  assert.equal((await tracePath(run)).artefact.kind, 'release');
  assert.equal((await tracePath(at('pretrain', 'metrics.jsonl'))).file?.state, 'unlisted');
  await assert.rejects(tracePath(tmpdir()), /belongs to no artefact/);
  await assert.rejects(tracePath(at('nothing')), /there is nothing at/);
});

test('a release copied alone is traced by the manifests that travel with it', async () => {
  const alone = join(scratch, 'elsewhere', 'model');
  cpSync(at('release'), alone, { recursive: true });
  const { artefact } = await tracePath(alone);
  assert.deepEqual(kindsOf(artefact), kindsOf((await tracePath(at('release'))).artefact));
  assert.equal(find(artefact, 'source').state, 'copied');
  assert.equal(find(artefact, 'source').facts['documents'], 12);
  rmSync(join(alone, 'provenance', 'pretrain.json'));
  const broken = (await tracePath(alone)).artefact;
  assert.deepEqual(
    broken.inputs.map(({ role, state }) => [role, state]),
    [
      ['pretrain', 'gone'],
      ['tokenizer', 'copied'],
    ],
  );
});

test('a replaced input and a changed file are told apart, and the exit code says so', async () => {
  const other = join(scratch, 'changed');
  await makeRun(other);
  rmSync(join(other, 'release', 'provenance'), { recursive: true });
  writeFileSync(join(other, 'source', 'crawl.warc'), 'another crawl');
  writeManifest(join(other, 'source'), { kind: 'source', version: 1, recipe: {}, inputs: {}, facts: {} });
  writeFileSync(join(other, 'pretrain', 'model.safetensors'), 'WEIGHTS');
  const shallow = await tracePath(join(other, 'pretrain'));
  const replaced = find(shallow.artefact, 'source');
  assert.equal(replaced.state, 'replaced');
  assert.equal(replaced.foundId, readManifest(join(other, 'source')).id);
  assert.deepEqual(shallow.artefact.problems, [], 'same size, not hashed');
  assert.match(
    (await tracePath(join(other, 'pretrain'), { verify: true })).artefact.problems[0] as string,
    /content differs/,
  );
  const cli = await runCli(['trace', join(other, 'pretrain', 'model.safetensors')]);
  assert.equal(cli.code, somethingChanged);
  assert.match(cli.stdout, /CHANGED since the artefact was made/);
  assert.match(cli.stdout, /REPLACED/);
});

test('a document: kept, and the steps that read it are those whose batches hold its tokens', async () => {
  const trace = await traceDocument('doc/4', run);
  assert.equal(trace.ledger.verdict, 'kept');
  assert.deepEqual(
    trace.packed.map(({ split, index }) => [split, index]),
    [['train', 4]],
  );
  const { sequenceLength, batchSize, goldfish, documentMask, eodLossMask } = recipe.pretrain as NonNullable<
    typeof recipe.pretrain
  >;
  const batches = new TokenBatches({
    path: at('tokens', 'train'),
    sequenceLength,
    seed: recipe.seed,
    samples: 18,
    goldfish,
    documentMask,
    eodLossMask,
  });
  const own = Tokenizer.load(at('tokenizer')).encode('漢漢');
  const holding = new Set<string>();
  for (let sample = 0; sample < 18; sample++) {
    const { tokens, labels } = batches.sample(sample);
    if ([...tokens, ...labels].some((id) => own.includes(id))) {
      holding.add(`${Math.floor(sample / batchSize) + 1}/${sample % batchSize}`);
    }
  }
  batches.close();
  const seen = trace.training?.seen.filter(({ tokens }) => tokens > 2).map(({ step, row }) => `${step}/${row}`) ?? [];
  assert.ok(seen.length > 0);
  for (const place of seen) assert.ok(holding.has(place), `${place} does not hold it`);
  const all = new Set(trace.training?.seen.map(({ step, row }) => `${step}/${row}`));
  for (const place of holding) assert.ok(all.has(place), `${place} holds it too`);
  assert.deepEqual([trace.training?.steps, trace.training?.stepsTaken], [6, 6]);
  assert.match(documentTraceText(trace), /kept[\s\S]*seen \d+ of \d+ times after 6 of 6 steps/);
});

test('a document: dropped with the rule, held-out parts, by address, from an artefact, unknown', async () => {
  const dropped = await runCli(['trace', '--document', 'doc/7', run]);
  assert.equal(dropped.code, 0, dropped.stderr);
  assert.match(dropped.stdout, /dropped by the step "exact-dedup", rule "duplicate": of doc\/3/);
  assert.match(dropped.stdout, /never: none of 6 steps/);
  const parted = await traceDocument('https://example.org/9', at('release', 'model.safetensors'));
  assert.deepEqual(
    parted.packed.map(({ id, split }) => [id, split]),
    [
      ['doc/9', 'train'],
      ['doc/9#3', 'validation'],
    ],
  );
  assert.equal((await traceDocument('doc/9#3', run)).ledger.id, 'doc/9');
  await assert.rejects(traceDocument('doc/99', run), /no document "doc\/99"/);
  await assert.rejects(traceDocument('doc/1', tmpdir()), /does not lead to a ledger/);
});

test('a document: the conversations made from it, and the steps of fine-tuning whose rows hold them', async () => {
  const tuned = join(scratch, 'tuned');
  cpSync(run, tuned, { recursive: true });
  mkdirSync(join(tuned, 'conversations'));
  mkdirSync(join(tuned, 'sft'));
  const writer = new JsonlWriter(join(tuned, 'conversations', conversationsName));
  for (let i = 0; i < 12; i++) {
    const document = `doc/${i % 6}`;
    const messages = [
      { role: 'user' as const, content: `${i} ${'?'.repeat(i === 10 ? 3000 : 3)}` },
      { role: 'assistant' as const, content: `answer ${i}` },
    ];
    const common = { kind: 'language' as const, language: 'eng', section: 's', licence: 'MIT', messages };
    await writer.write({ ...common, id: `${document}#s/${i}`, document } satisfies Conversation);
  }
  await writer.close();
  const tuning = parseRecipe(
    { ...recipe, sft: { steps: 7, sequenceLength: 512, batchSize: 2, peakLearningRate: 1e-3 } },
    'test',
  );
  writeFileSync(join(tuned, 'sft', 'metrics.jsonl'), metrics(7));
  const parts = { conversations: join(tuned, 'conversations'), tokenizer: join(tuned, 'tokenizer') };
  const { conversations: _, ...tokenizer } = parts;
  const manifest = { kind: 'conversations', version: 1, recipe: {}, facts: {} };
  writeManifest(parts.conversations, { ...manifest, inputs: tokenizer });
  const part = { sft: tuning.sft, seed: tuning.seed } as unknown as Json;
  writeManifest(join(tuned, 'sft'), { ...manifest, kind: 'model', recipe: part, inputs: parts });

  const { fineTuning } = await traceDocument('doc/4', tuned);
  assert.ok(fineTuning);
  assert.deepEqual(fineTuning.conversations, ['doc/4#s/4', 'doc/4#s/10']);
  assert.deepEqual([fineTuning.leftOut, fineTuning.steps, fineTuning.stepsTaken], [1, 7, 7]);
  // The rows themselves, by the one text that no other conversation has.
  const words = Tokenizer.load(parts.tokenizer);
  const data = await sftData({
    dir: parts.conversations,
    tokenizer: words,
    sequenceLength: 512,
    seed: tuning.seed,
  });
  const holding: string[] = [];
  for (let step = 0; step < 7; step++) {
    const { tokens } = data.rows(2 * step, 2).batch;
    for (let row = 0; row < 2; row++) {
      const text = words.decode([...tokens.subarray(512 * row, 512 * (row + 1))]);
      if (text.includes('answer 4')) holding.push(`${step + 1}/${row}`);
    }
  }
  assert.ok(holding.length > 0);
  assert.deepEqual(
    fineTuning.seen.map(({ step, row }) => `${step}/${row}`),
    holding,
  );
  const text = documentTraceText(await traceDocument('doc/4', tuned));
  assert.match(text, /^pretrain {2}seen \d+ of \d+ times after 6 of 6 steps$/m);
  assert.match(
    text,
    /^sft {7}2 conversations were made from it, 1 too long for a row; seen (\d+) of \1 times after 7 of 7/m,
  );
  const dropped = documentTraceText(await traceDocument('doc/7', tuned));
  assert.match(dropped, /^sft {7}never: no conversation was made from it$/m);
  assert.equal((await traceDocument('doc/4', run)).fineTuning, null);

  // Interrupted after three steps: the manifest is not there yet, the recipe is the run's.
  rmSync(join(tuned, 'sft', 'manifest.json'));
  const last = fineTuning.seen.at(-1)?.step as number;
  writeFileSync(join(tuned, 'sft', 'metrics.jsonl'), metrics(3, [last]));
  writeFileSync(join(tuned, 'recipe.json'), JSON.stringify(tuning));
  const half = (await traceDocument('doc/4', tuned)).fineTuning;
  const seen = fineTuning.seen.map((at) => ({ ...at, skipped: at.step > 3 ? null : at.step === last }));
  assert.deepEqual(half, { ...fineTuning, stepsTaken: 3, seen });
});

test('an unfinished pretraining: steps that were not reached are marked', async () => {
  const half = join(scratch, 'half');
  cpSync(run, half, { recursive: true });
  rmSync(join(half, 'release'), { recursive: true });
  renameSync(join(half, 'pretrain', 'manifest.json'), join(half, 'unused.json'));
  writeFileSync(join(half, 'pretrain', 'metrics.jsonl'), `${metrics(2)}{"ste`);
  const trace = await traceDocument('doc/4', half);
  assert.equal(trace.training?.stepsTaken, 2);
  const whole = (await traceDocument('doc/4', run)).training?.seen ?? [];
  assert.ok(whole.every(({ skipped }) => skipped === false));
  assert.ok(whole.some(({ step }) => step > 2));
  assert.deepEqual(
    trace.training?.seen,
    whole.map((at) => ({ ...at, skipped: at.step > 2 ? null : false })),
  );
  assert.match(documentTraceText(trace), /not reached yet/);
});

test('batches that the guard passed over are not called seen, and what no file tells is said', async () => {
  const guarded = join(scratch, 'guarded');
  cpSync(run, guarded, { recursive: true });
  const whole = (await traceDocument('doc/4', guarded)).training?.seen ?? [];
  const [first] = whole;
  assert.ok(first);
  const path = join(guarded, 'pretrain', 'metrics.jsonl');
  writeFileSync(path, metrics(6, [first.step]));
  const trace = await traceDocument('doc/4', guarded);
  assert.deepEqual(
    trace.training?.seen,
    whole.map((at) => ({ ...at, skipped: at.step === first.step })),
  );
  const over = whole.filter(({ step }) => step === first.step).length;
  const text = documentTraceText(trace);
  assert.ok(
    text.includes(
      `seen ${whole.length - over} of ${whole.length} times after 6 of 6 steps; the guard passed over ${over} more\n`,
    ),
    text,
  );
  assert.equal(text.split('(passed over by the guard)').length, over + 1);
  rmSync(path);
  const untold = documentTraceText(await traceDocument('doc/4', guarded));
  assert.match(untold, new RegExp(`passed over ${whole.length} of them is in no metrics.jsonl`));
});

test('a phase whose token files are gone is named, and so are the files', async () => {
  const phased = join(scratch, 'phased');
  cpSync(run, phased, { recursive: true });
  rmSync(join(phased, 'release'), { recursive: true });
  rmSync(join(phased, 'pretrain', 'manifest.json'));
  const gone = join(scratch, 'shards', 'other');
  const whole = [{ data: 'train', weight: 1 }];
  const phases = [
    { name: 'one', steps: 3, mixture: whole },
    { name: 'two', steps: 3, mixture: [...whole, { data: gone, weight: 1 }] },
    { name: 'three', steps: 3, mixture: [{ data: gone, weight: 1 }] },
    { name: 'four', steps: 6, mixture: [{ data: join(phased, 'tokens', 'train'), weight: 1 }] },
  ];
  const { steps: _, ...pretrain } = recipe.pretrain as NonNullable<typeof recipe.pretrain>;
  const staged = parseRecipe({ ...recipe, pretrain: { ...pretrain, phases } }, 'test');
  writeFileSync(join(phased, 'recipe.json'), JSON.stringify(staged));
  const trace = await traceDocument('doc/4', phased);
  assert.deepEqual(trace.training?.untold, [{ phase: 'two', missing: [`${gone}.bin`, `${gone}.idx`] }]);
  const steps = trace.training?.seen.map(({ step }) => step) ?? [];
  assert.ok(
    steps.some((step) => step > 9),
    'the same file by its path',
  );
  assert.ok(steps.every((step) => step <= 3 || step > 9));
  assert.match(documentTraceText(trace), /phase two cannot be told without .*other\.bin, .*other\.idx$/m);
});

test('weights that began with those of another run: both trainings are asked, the later one first', async () => {
  const later = join(scratch, 'later');
  await makeRun(later);
  const folder = (name: string): string => join(later, name);
  const { model, pretrain, seed } = recipe;
  // The later run knows doc/4 by another text, and a document of its own.
  const ledger = new JsonlWriter(join(folder('documents'), 'ledger-00001.jsonl.gz'));
  const own = { id: 'own/1', language: 'deu', source: 'test', licence: 'MIT', bytesIn: 5, bytesOut: 0 };
  await ledger.write({ ...own, verdict: 'dropped', step: 'language', reason: 'other' } satisfies LedgerRow);
  await ledger.close();
  const documents = readManifest(folder('documents'));
  writeManifest(folder('documents'), { ...documents, inputs: { source: folder('source') } });
  // Its tokenizer is the earlier run's, and its weights began with the earlier one's.
  writeManifest(folder('tokenizer'), {
    kind: 'tokenizer',
    version: 1,
    recipe: {},
    inputs: { base: at('tokenizer') },
    facts: {},
  });
  const inputs = { documents: folder('documents'), tokenizer: folder('tokenizer') };
  writeManifest(folder('tokens'), { ...readManifest(folder('tokens')), inputs });
  const part = { model, pretrain: { ...pretrain, steps: 4 }, seed } as unknown as Json;
  const made = { tokens: folder('tokens'), tokenizer: folder('tokenizer') };
  const trained = { kind: 'model', version: 1, recipe: part, facts: {}, exclude: ['metrics.jsonl'] };
  writeManifest(folder('pretrain'), { ...trained, inputs: { ...made, base: at('pretrain') } });

  for (const path of [folder('pretrain'), join(folder('pretrain'), 'model.safetensors')]) {
    const both = await traceDocument('doc/4', path);
    assert.deepEqual([both.documents, both.training?.steps], [folder('documents'), 4]);
    assert.deepEqual([both.before?.documents, both.before?.training?.steps], [at('documents'), 6]);
    assert.equal(both.before?.before, null);
    assert.deepEqual(both.before, await traceDocument('doc/4', run));
    assert.match(
      documentTraceText(both),
      /of 4 steps[\s\S]*before that, in the training whose weights this one began with:\ndocument {2}doc\/4\n[\s\S]*of 6 steps/,
    );
  }
  const alone = await traceDocument('own/1', folder('pretrain'));
  assert.deepEqual([alone.ledger.language, alone.before], ['deu', null]);

  // Known to the earlier run alone.
  rmSync(join(folder('documents'), 'ledger-00000.jsonl.gz'));
  const earlier = await traceDocument('doc/4', folder('pretrain'));
  assert.deepEqual([earlier.documents, earlier.before], [at('documents'), null]);
  await assert.rejects(
    traceDocument('doc/99', folder('pretrain')),
    new RegExp(`no document "doc/99" came into ${folder('documents')} or ${at('documents')}`),
  );

  // What cannot be asked is said: nobody may take silence for a no.
  const manifestPath = join(folder('pretrain'), 'manifest.json');
  const whole = readManifest(folder('pretrain'));
  const began = async (changed: object): Promise<string> => {
    writeFileSync(manifestPath, JSON.stringify({ ...whole, ...changed }));
    const { notAsked, before } = await traceDocument('own/1', later);
    assert.equal(before, null);
    const [why = ''] = notAsked;
    const refusal = await traceDocument('doc/4', later).catch((error: unknown) => (error as Error).message);
    assert.ok(String(refusal).includes(`not asked: ${why}`), String(refusal));
    assert.match(documentTraceText(await traceDocument('own/1', later)), /^not asked \S/m);
    return why;
  };
  const withBase = (change: object) => ({
    inputs: whole.inputs.map((input) => (input.name === 'base' ? { ...input, ...change } : input)),
  });
  assert.match(
    await began(withBase({ id: '0'.repeat(64) })),
    /000000000000, whose weights .* was replaced by [0-9a-f]{12}/,
  );
  assert.match(await began(withBase({ path: '../nowhere' })), /is not there: .*nowhere/);
  const inputsOfRun = whole.inputs.filter(({ name }) => name !== 'base');
  const hashed = { ...(whole.recipe as object), 'from:config.json': '0'.repeat(64) };
  assert.match(await began({ inputs: inputsOfRun, recipe: hashed }), /weights from outside/);
  // One that travelled without the documents it saw.
  const lonely = join(scratch, 'lonely');
  cpSync(at('pretrain'), lonely, { recursive: true });
  assert.match(
    await began(withBase({ path: relative(folder('pretrain'), lonely) })),
    /ledger of the documents that .*lonely saw is not here/,
  );

  // While it trains, its recipe says what it began with.
  rmSync(manifestPath);
  rmSync(folder('release'), { recursive: true });
  const running = { ...recipe, pretrain: { ...pretrain, steps: 4, from: at('pretrain') } };
  writeFileSync(join(later, 'recipe.json'), JSON.stringify(running));
  assert.equal((await traceDocument('doc/5', later)).documents, at('documents'));

  // A recipe that names what its own run had made leads back to the run.
  writeFileSync(join(later, 'recipe.json'), JSON.stringify({ ...recipe, pretrain: { ...pretrain, from: later } }));
  writeManifest(later, { kind: 'run', version: 1, recipe: {}, inputs: {}, facts: {}, exclude: readdirSync(later) });
  assert.equal((await traceDocument('own/1', later)).before, null);
});
