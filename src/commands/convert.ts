// `belay convert IN OUT`: weights between Hugging Face folders and Megatron's layout.
//
// Does not: move a weight; model/megatron-convert.ts does.
import { buildCommand } from '@stricli/core';
import { terminalLog } from '../base/progress.ts';
import { loadRecipe } from '../base/recipe.ts';
import { convertWeights, type ConvertResult } from '../model/megatron-convert.ts';
import { splitText } from '../model/megatron-folder.ts';
import { wholeNumber } from './flags.ts';

/** What was converted, for people. */
export function convertText(result: ConvertResult): string {
  const { out, files, tensors, bytes, split, vocabularyRows, replicasThatDiffer } = result;
  const lines = [
    `${out}: ${tensors.toLocaleString('en')} tensors, ${(bytes / 1e6).toLocaleString('en', { maximumFractionDigits: 1 })} MB in ${files} file${files === 1 ? '' : 's'}`,
    `Megatron side: ${splitText(split)}, ${vocabularyRows.toLocaleString('en')} rows of vocabulary`,
  ];
  if (replicasThatDiffer.length > 0) {
    const worst = replicasThatDiffer.reduce((a, b) => (b.largest > a.largest ? b : a));
    lines.push(
      `the tensor ranks hold different copies of ${replicasThatDiffer.length} weights; rank 0's were taken (largest difference ${worst.largest.toPrecision(3)}, in ${worst.name}; docs/megatron.md says why)`,
    );
  }
  return lines.map((line) => `${line}\n`).join('');
}

interface Flags {
  readonly from: 'hf' | 'megatron';
  readonly to: 'hf' | 'megatron';
  readonly tp: number;
  readonly pp: number;
  readonly layersPerVirtualStage?: number;
  readonly vocabularyMultiple: number;
  readonly config?: string;
  readonly recipe?: string;
  readonly json: boolean;
}

const layouts = ['hf', 'megatron'] as const;

export const command = buildCommand<Flags, [string, string]>({
  docs: {
    brief: "Weights between Hugging Face folders and Megatron's layout",
    fullDescription: `Converts an Apertus model from a Hugging Face folder to Megatron-core's layout, back, or from one Megatron split to
another. Every weight keeps its bits; a few rows are in memory at a time. A Megatron folder holds one safetensors file per
rank with Megatron's names, and the model's config.json (docs/megatron.md); how it was cut is read off the files.

EXAMPLE
  belay convert --from hf --to megatron --tp 2 swiss-ai/Apertus-8B-2509 out/megatron-8b
  belay convert --from megatron --to hf out/megatron-8b out/hf-8b
  belay convert --from megatron --to megatron --tp 4 --pp 8 --layers-per-virtual-stage 2 out/one out/other`,
  },
  parameters: {
    flags: {
      from: { kind: 'enum', values: layouts, brief: 'layout of IN' },
      to: { kind: 'enum', values: layouts, brief: 'layout of OUT' },
      tp: { kind: 'parsed', parse: wholeNumber(1), brief: 'tensor ranks of a Megatron OUT', default: '1' },
      pp: { kind: 'parsed', parse: wholeNumber(1), brief: 'its pipeline ranks', default: '1' },
      layersPerVirtualStage: {
        kind: 'parsed',
        parse: wholeNumber(1),
        brief: 'layers of a virtual stage (default: no virtual stages)',
        optional: true,
      },
      vocabularyMultiple: {
        kind: 'parsed',
        parse: wholeNumber(1),
        brief: 'the vocabulary is padded to a multiple of this times tp',
        default: '128',
      },
      config: { kind: 'parsed', parse: String, brief: "a config.json, instead of IN's own", optional: true },
      recipe: { kind: 'parsed', parse: String, brief: 'or a recipe, for a model without config.json', optional: true },
      json: { kind: 'boolean', brief: 'one JSON object, no progress', default: false },
    },
    positional: {
      kind: 'tuple',
      parameters: [
        { parse: String, brief: 'the folder to read', placeholder: 'IN' },
        { parse: String, brief: 'the folder to make', placeholder: 'OUT' },
      ],
    },
  },
  async func(flags, input, out) {
    const recipe = flags.recipe === undefined ? undefined : await loadRecipe(flags.recipe);
    const result = convertWeights(input, out, {
      from: flags.from,
      to: flags.to,
      split: {
        tensorParallel: flags.tp,
        pipelineParallel: flags.pp,
        layersPerVirtualStage: flags.layersPerVirtualStage ?? null,
      },
      vocabularyMultiple: flags.vocabularyMultiple,
      ...(flags.config === undefined ? {} : { configPath: flags.config }),
      ...(recipe ? { model: recipe.model } : {}),
      log: terminalLog({ quiet: flags.json }),
    });
    process.stdout.write(flags.json ? `${JSON.stringify(result)}\n` : convertText(result));
  },
});
