// A Megatron state dict on disk as belay keeps it: a folder of safetensors files, one per rank.
//
// `mp_rank_TT.safetensors` for tensor rank TT, `mp_rank_TT_PPP.safetensors` where there are several pipeline ranks: the
// names Megatron gives to the folders of its `torch` checkpoints. Tensors have Megatron's names; beside them lies the
// model's config.json. How the model was cut is read off the names and shapes; nothing else describes it.
// docs/megatron.md shows how a torch checkpoint becomes such a folder.
//
// Does not: read torch's .pt or .distcp pickles; write (megatron-convert.ts does).
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { UserError } from '../base/errors.ts';
import type { ModelRecipe } from '../base/recipe.ts';
import { SafetensorsFile } from '../tensor/safetensors.ts';
import { type MegatronSplit, type MegatronTensor, megatronTensors } from './megatron-layout.ts';

const rankFile = /^mp_rank_(\d{2,})(?:_(\d{3,}))?\.safetensors$/;

/** Name of a rank's file. */
export function rankFileName(tensorRank: number, pipelineRank: number, split: MegatronSplit): string {
  const pipeline = split.pipelineParallel > 1 ? `_${String(pipelineRank).padStart(3, '0')}` : '';
  return `mp_rank_${String(tensorRank).padStart(2, '0')}${pipeline}.safetensors`;
}

/** A tensor of a Megatron folder and the open file that holds it. */
export interface StoredTensor extends MegatronTensor {
  readonly file: SafetensorsFile;
}

/** An open Megatron folder whose tensors were checked against the model. Close it. */
export interface MegatronFolder {
  readonly split: MegatronSplit;
  /** Rows of the padded vocabulary. */
  readonly vocabularyRows: number;
  readonly tensors: readonly StoredTensor[];
  readonly close: () => void;
}

/**
 * Opens a Megatron folder. A UserError where ranks are missing, where a tensor of the model is missing or has another
 * shape, or where there is a tensor that the model does not have.
 */
export function openMegatronFolder(dir: string, model: ModelRecipe): MegatronFolder {
  const files = openRanks(dir);
  const close = (): void => {
    for (const file of files.values()) file.close();
  };
  try {
    const split = splitOf(dir, files, model);
    const vocabularyRows = vocabularyRowsOf(files, split);
    const expected = megatronTensors(model, split, vocabularyRows);
    const known = new Map<string, Set<string>>();
    const tensors = expected.map((tensor): StoredTensor => {
      const name = rankFileName(tensor.tensorRank, tensor.pipelineRank, split);
      const file = files.get(name) as SafetensorsFile;
      let names = known.get(name);
      if (!names) known.set(name, (names = new Set()));
      names.add(tensor.name);
      const found = file.tensors.get(tensor.name);
      if (!found) {
        throw new UserError(`${file.path} lacks ${tensor.name}`, {
          found: [...file.tensors.keys()].slice(0, 3).join(', '),
          expected: `the weights of an Apertus with ${model.layers} layers, cut as ${splitText(split)}`,
          next: 'check that config.json is that of this model',
        });
      }
      if (found.shape.join() !== tensor.shape.join()) {
        throw new UserError(`${file.path}: ${tensor.name} has the wrong shape`, {
          found: `[${found.shape.join(', ')}]`,
          expected: `[${tensor.shape.join(', ')}] by config.json, cut as ${splitText(split)}`,
        });
      }
      return { ...tensor, file };
    });
    for (const [name, file] of files) {
      // Transformer Engine keeps state of its FP8 arithmetic beside the weights; it is no weight.
      const extra = [...file.tensors.keys()].filter(
        (key) => !known.get(name)?.has(key) && !key.endsWith('._extra_state'),
      );
      if (extra.length > 0) {
        throw new UserError(`${file.path} holds weights that this model does not have`, {
          found: extra.slice(0, 5).join(', '),
          expected: 'an Apertus model without biases, with Transformer Engine names (norms fused into linear_qkv, fc1)',
        });
      }
    }
    return { split, vocabularyRows, tensors, close };
  } catch (error) {
    close();
    throw error;
  }
}

/** "4 tensor ranks, 8 pipeline ranks of 5 virtual stages". */
export function splitText(split: MegatronSplit): string {
  const { tensorParallel: tp, pipelineParallel: pp, layersPerVirtualStage: per } = split;
  const ranks = `${tp} tensor rank${tp === 1 ? '' : 's'}, ${pp} pipeline rank${pp === 1 ? '' : 's'}`;
  return per === null ? ranks : `${ranks} with ${per} layer${per === 1 ? '' : 's'} per virtual stage`;
}

/** The rank files, all of them, by name. */
function openRanks(dir: string): Map<string, SafetensorsFile> {
  const names = existsSync(dir) ? readdirSync(dir).filter((name) => rankFile.test(name)) : [];
  if (names.length === 0) {
    throw new UserError(`${dir} is not a Megatron folder`, {
      found: existsSync(dir) ? 'no mp_rank_*.safetensors in it' : 'nothing at this path',
      expected: 'mp_rank_00.safetensors, ... (docs/megatron.md says how to make them of a torch checkpoint)',
    });
  }
  const files = new Map<string, SafetensorsFile>();
  try {
    for (const name of names.sort()) files.set(name, new SafetensorsFile(join(dir, name)));
  } catch (error) {
    for (const file of files.values()) file.close();
    throw error;
  }
  return files;
}

/** How the model was cut: ranks from the names of the files, virtual stages from those of the tensors. */
function splitOf(dir: string, files: ReadonlyMap<string, SafetensorsFile>, model: ModelRecipe): MegatronSplit {
  const ranks = [...files.keys()].map((name) => {
    const [, tensor = '', pipeline = '0'] = rankFile.exec(name) as RegExpExecArray;
    return [Number(tensor), Number(pipeline)] as const;
  });
  const tensorParallel = Math.max(...ranks.map(([tensor]) => tensor)) + 1;
  const pipelineParallel = Math.max(...ranks.map(([, pipeline]) => pipeline)) + 1;
  let stages = 1;
  for (const file of files.values()) {
    for (const name of file.tensors.keys()) {
      const match = /^model(\d+)\./.exec(name);
      if (match) stages = Math.max(stages, Number(match[1]) + 1);
    }
  }
  const split: MegatronSplit = {
    tensorParallel,
    pipelineParallel,
    layersPerVirtualStage: stages === 1 ? null : model.layers / pipelineParallel / stages,
  };
  for (let pipeline = 0; pipeline < pipelineParallel; pipeline++) {
    for (let tensor = 0; tensor < tensorParallel; tensor++) {
      const name = rankFileName(tensor, pipeline, split);
      if (!files.has(name)) {
        throw new UserError(`${dir} lacks the rank file ${name}`, {
          found: [...files.keys()].join(', '),
          expected: `one file for each of ${tensorParallel} x ${pipelineParallel} tensor and pipeline ranks`,
        });
      }
    }
  }
  if (split.layersPerVirtualStage !== null && !Number.isInteger(split.layersPerVirtualStage)) {
    throw new UserError(`${dir} has virtual stages that do not fit the model`, {
      found: `${stages} of them on ${pipelineParallel} pipeline ranks`,
      expected: `equal shares of the ${model.layers} layers of config.json`,
    });
  }
  return split;
}

function vocabularyRowsOf(files: ReadonlyMap<string, SafetensorsFile>, split: MegatronSplit): number {
  const file = files.get(rankFileName(0, 0, split)) as SafetensorsFile;
  for (const prefix of ['', 'model0.']) {
    const rows = file.tensors.get(`${prefix}embedding.word_embeddings.weight`)?.shape[0];
    if (rows !== undefined) return rows * split.tensorParallel;
  }
  throw new UserError(`${file.path} lacks embedding.word_embeddings.weight`, {
    found: [...file.tensors.keys()].slice(0, 3).join(', '),
    expected: "Megatron-core's names",
  });
}
