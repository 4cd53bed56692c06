// The measures of tokenizers against reference values.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { goldenJson } from '../../test/golden.ts';
import { costUnits, gini, TokenizerMeter, unitsOf } from './metrics.ts';

type Ratios = { readonly sum_ratio: number; readonly mean_of_line_ratios: number };
interface Fertilities {
  readonly all: Ratios;
  readonly per_language: Readonly<Record<string, Ratios>>;
}
const golden = goldenJson<{
  readonly vocab_size: number;
  readonly rows: readonly {
    readonly language: string;
    readonly text: string;
    readonly tokens: readonly number[];
    readonly words_python_split: number;
    readonly words_whitespace_pretokenizer: number;
    readonly bytes: number;
    readonly characters: number;
  }[];
  readonly expected: {
    readonly by_unit: Readonly<
      Record<
        string,
        {
          readonly gini: number;
          readonly cost_per_language: Readonly<Record<string, number>>;
          readonly compression_mean_over_lines: number;
          readonly compression_per_language: Readonly<Record<string, number>>;
        }
      >
    >;
    readonly vocabulary_utilisation: {
      readonly all: number;
      readonly per_language: Readonly<Record<string, number>>;
      readonly used: number;
    };
    readonly fertility: {
      readonly words_whitespace_pretokenizer: Fertilities;
      readonly words_python_split: Fertilities;
    };
  };
  readonly gini_vectors: readonly { readonly costs: readonly number[]; readonly gini: number }[];
}>('tokenizer_metrics.json');

function near(found: number | undefined, expected: number, what: string): void {
  assert.ok(Math.abs((found ?? Number.NaN) - expected) <= 1e-12, `${what}: ${found}, expected ${expected}`);
}

test('units of a line', () => {
  for (const row of golden.rows) {
    assert.deepEqual(
      unitsOf(row.text),
      {
        bytes: row.bytes,
        characters: row.characters,
        words: row.words_whitespace_pretokenizer,
        spacedWords: row.words_python_split,
      },
      row.text,
    );
  }
  assert.deepEqual(unitsOf(' \u0085\u3000\n'), { bytes: 7, characters: 4, words: 0, spacedWords: 0 });
});

test('every measure of the reference', () => {
  const meter = new TokenizerMeter(golden.vocab_size);
  for (const { language, text, tokens } of golden.rows) meter.add(language, tokens, unitsOf(text));
  const { all, languages, cost } = meter.metrics();
  const { by_unit, vocabulary_utilisation, fertility } = golden.expected;
  const names = Object.keys(vocabulary_utilisation.per_language);
  assert.deepEqual(Object.keys(languages), names);
  for (const unit of costUnits) {
    const expected = by_unit[unit];
    assert.ok(expected);
    near(cost[unit].gini, expected.gini, unit);
    near(all.linesPerToken, expected.compression_mean_over_lines, unit);
    for (const name of names) {
      near(cost[unit].perLanguage[name], expected.cost_per_language[name] as number, `${unit} ${name}`);
      near(languages[name]?.linesPerToken, expected.compression_per_language[name] as number, `${unit} ${name}`);
    }
  }
  assert.equal(all.used, vocabulary_utilisation.used);
  near(all.vocabularyUtilisation, vocabulary_utilisation.all, 'utilisation');
  for (const name of names) {
    near(languages[name]?.vocabularyUtilisation, vocabulary_utilisation.per_language[name] as number, name);
  }
  for (const [ours, theirs] of [
    ['fertility', 'words_whitespace_pretokenizer'],
    ['spacedFertility', 'words_python_split'],
  ] as const) {
    near(all[ours].sumRatio, fertility[theirs].all.sum_ratio, ours);
    near(all[ours].meanOfLineRatios, fertility[theirs].all.mean_of_line_ratios, ours);
    for (const name of names) {
      const expected = fertility[theirs].per_language[name] as Ratios;
      near(languages[name]?.[ours].sumRatio, expected.sum_ratio, name);
      near(languages[name]?.[ours].meanOfLineRatios, expected.mean_of_line_ratios, name);
    }
  }
});

test('Gini coefficients of plain costs', () => {
  for (const { costs, gini: expected } of golden.gini_vectors) near(gini(costs), expected, costs.join());
  assert.equal(gini([0, 0]), 0);
});
