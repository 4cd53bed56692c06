// Where every weight of an Apertus model lies in Megatron-core's state dict, for any tensor and pipeline split.
//
// One table says it all: a Megatron tensor is a stack of rectangles cut out of Hugging Face tensors (`Part`). Read from
// left to right it makes Megatron's shards, read from right to left it finds a Hugging Face row again; both directions
// of the conversion follow it (megatron-convert.ts). A vector counts as one row.
// Facts: names are those of the Transformer Engine layer with pre-norms fused into the following matrix
// (Megatron-LM tools/checkpoint/schema_core.py, class CoreTESchema); the fused QKV is, per key/value head, its query
// heads, its key, its value (megatron/core/transformer/attention.py, get_query_key_value_tensors); layers of virtual
// stages are numbered as in transformer_layer.py, get_transformer_layer_offset; the vocabulary is padded as in
// megatron/training/tokenizer/tokenizer.py, _vocab_size_with_padding.
//
// Does not: read or write files; know biases, tied embeddings or expert layers, which Apertus does not have.
import { UserError } from '../base/errors.ts';
import type { ModelRecipe } from '../base/recipe.ts';

/** How Megatron cuts a model. */
export interface MegatronSplit {
  /** Ranks that share each matrix (--tensor-model-parallel-size). */
  readonly tensorParallel: number;
  /** Ranks that share the layers (--pipeline-model-parallel-size). */
  readonly pipelineParallel: number;
  /** Layers of a virtual stage (--num-layers-per-virtual-pipeline-stage); null: a rank's layers are in one piece. */
  readonly layersPerVirtualStage: number | null;
}

/** A rectangle of a Hugging Face tensor, in elements. */
export interface Part {
  /** The Hugging Face name. */
  readonly name: string;
  readonly row: number;
  readonly col: number;
  /** Rows it takes in the Megatron tensor; the rectangle's own rows unless it repeats. */
  readonly rows: number;
  readonly cols: number;
  /** One row of the source, repeated: padding of the vocabulary. */
  readonly repeats: boolean;
}

export interface MegatronTensor {
  /** Name in the state dict, with `model<N>.` in front where a rank has several virtual stages. */
  readonly name: string;
  readonly tensorRank: number;
  readonly pipelineRank: number;
  readonly shape: readonly number[];
  /** From top to bottom; every part is as wide as the tensor. */
  readonly parts: readonly Part[];
}

/** Virtual stages of a rank. */
export function stagesPerRank(layers: number, split: MegatronSplit): number {
  const perRank = layers / split.pipelineParallel;
  return split.layersPerVirtualStage === null ? 1 : perRank / split.layersPerVirtualStage;
}

/** Number in the whole model of layer `local` of a virtual stage of a pipeline rank. */
export function globalLayer(
  layers: number,
  split: MegatronSplit,
  pipelineRank: number,
  stage: number,
  local: number,
): number {
  const stages = stagesPerRank(layers, split);
  const perStage = layers / split.pipelineParallel / stages;
  return stage * (layers / stages) + pipelineRank * perStage + local;
}

/** Rows of the padded vocabulary: the next multiple of `multiple` (--make-vocab-size-divisible-by) times the tensor ranks. */
export function paddedVocabulary(vocabularySize: number, multiple: number, tensorParallel: number): number {
  const unit = multiple * tensorParallel;
  return Math.ceil(vocabularySize / unit) * unit;
}

/** A UserError where Megatron cannot cut the model so. */
export function checkSplit(model: ModelRecipe, split: MegatronSplit): void {
  const { tensorParallel: tp, pipelineParallel: pp, layersPerVirtualStage: perStage } = split;
  const refuse = (found: string, expected: string): never => {
    throw new UserError('Megatron cannot split this model so', { found, expected });
  };
  const divides = (name: string, size: number, by: number, byName: string): void => {
    if (size % by !== 0) refuse(`${size} ${name} on ${by} ${byName}`, `a divisor of ${size}`);
  };
  divides('key/value heads', model.kvHeads, tp, 'tensor ranks');
  divides('query heads', model.heads, tp, 'tensor ranks');
  divides('rows of the MLP', model.intermediate, tp, 'tensor ranks');
  divides('layers', model.layers, pp, 'pipeline ranks');
  if (perStage === null) return;
  if (pp === 1) refuse('virtual stages with 1 pipeline rank', 'at least 2 pipeline ranks');
  divides('layers of a pipeline rank', model.layers / pp, perStage, 'layers per virtual stage');
}

/**
 * The whole state dict of every rank: pipeline ranks outside, tensor ranks inside, tensors in the order of the layers.
 * `vocabularyRows` are the rows of the padded vocabulary, a multiple of the tensor ranks.
 */
export function megatronTensors(model: ModelRecipe, split: MegatronSplit, vocabularyRows: number): MegatronTensor[] {
  checkSplit(model, split);
  const { tensorParallel: tp, pipelineParallel: pp } = split;
  if (vocabularyRows % tp !== 0 || vocabularyRows < model.vocabularySize) {
    throw new UserError('the padded vocabulary does not fit', {
      found: `${vocabularyRows} rows on ${tp} tensor ranks`,
      expected: `at least ${model.vocabularySize} rows, divisible by ${tp}`,
    });
  }
  const tensors: MegatronTensor[] = [];
  const stages = stagesPerRank(model.layers, split);
  const layersPerStage = model.layers / pp / stages;
  for (let pipelineRank = 0; pipelineRank < pp; pipelineRank++) {
    for (let tensorRank = 0; tensorRank < tp; tensorRank++) {
      const add = (name: string, shape: readonly number[], parts: readonly Part[]): void =>
        void tensors.push({ name, tensorRank, pipelineRank, shape, parts });
      const vocabulary = (name: string): Part[] => vocabularyParts(name, model, vocabularyRows, tp, tensorRank);
      for (let stage = 0; stage < stages; stage++) {
        const prefix = stages === 1 ? '' : `model${stage}.`;
        const embeddingShape = [vocabularyRows / tp, model.hidden];
        if (pipelineRank === 0 && stage === 0) {
          add(`${prefix}embedding.word_embeddings.weight`, embeddingShape, vocabulary('model.embed_tokens.weight'));
        }
        for (let local = 0; local < layersPerStage; local++) {
          const layer = globalLayer(model.layers, split, pipelineRank, stage, local);
          for (const { name, shape, parts } of layerTensors(model, layer, tp, tensorRank)) {
            add(`${prefix}decoder.layers.${local}.${name}`, shape, parts);
          }
        }
        if (pipelineRank === pp - 1 && stage === stages - 1) {
          add(`${prefix}decoder.final_layernorm.weight`, [model.hidden], [whole('model.norm.weight', 1, model.hidden)]);
          add(`${prefix}output_layer.weight`, embeddingShape, vocabulary('lm_head.weight'));
        }
      }
    }
  }
  return tensors;
}

/** The tensors of one layer on one tensor rank; names within the layer. */
function layerTensors(
  model: ModelRecipe,
  layer: number,
  tp: number,
  tensorRank: number,
): Pick<MegatronTensor, 'name' | 'shape' | 'parts'>[] {
  const { hidden: D, intermediate: F, heads: H, kvHeads: K, headDim: hd } = model;
  const at = `model.layers.${layer}`;
  const vector = (name: string, hf: string, size: number): Pick<MegatronTensor, 'name' | 'shape' | 'parts'> => ({
    name,
    shape: [size],
    parts: [whole(`${at}.${hf}`, 1, size)],
  });
  // Matrices that write into the residual stream are cut into columns, the others into rows.
  const columns = (hf: string, width: number): Part[] => [
    { name: `${at}.${hf}`, row: 0, rows: D, col: (tensorRank * width) / tp, cols: width / tp, repeats: false },
  ];
  const perGroup = H / K;
  const qkv: Part[] = [];
  for (let group = (tensorRank * K) / tp; group < ((tensorRank + 1) * K) / tp; group++) {
    const rows = (name: string, row: number, count: number): Part => ({
      name: `${at}.self_attn.${name}.weight`,
      row: row * hd,
      rows: count * hd,
      col: 0,
      cols: D,
      repeats: false,
    });
    qkv.push(rows('q_proj', group * perGroup, perGroup), rows('k_proj', group, 1), rows('v_proj', group, 1));
  }
  const gated = model.activation === 'swiglu';
  const mlpRows = (hf: string): Part => ({
    name: `${at}.mlp.${hf}.weight`,
    row: (tensorRank * F) / tp,
    rows: F / tp,
    col: 0,
    cols: D,
    repeats: false,
  });
  return [
    vector('self_attention.linear_qkv.layer_norm_weight', 'attention_layernorm.weight', D),
    { name: 'self_attention.linear_qkv.weight', shape: [((H + 2 * K) * hd) / tp, D], parts: qkv },
    vector('self_attention.q_layernorm.weight', 'self_attn.q_norm.weight', hd),
    vector('self_attention.k_layernorm.weight', 'self_attn.k_norm.weight', hd),
    {
      name: 'self_attention.linear_proj.weight',
      shape: [D, (H * hd) / tp],
      parts: columns('self_attn.o_proj.weight', H * hd),
    },
    vector('mlp.linear_fc1.layer_norm_weight', 'feedforward_layernorm.weight', D),
    {
      name: 'mlp.linear_fc1.weight',
      shape: [((gated ? 2 : 1) * F) / tp, D],
      parts: [...(gated ? [mlpRows('gate_proj')] : []), mlpRows('up_proj')],
    },
    ...(model.activation === 'xielu'
      ? [
          vector('mlp.activation_func.alpha_p', 'mlp.act_fn.alpha_p', 1),
          vector('mlp.activation_func.alpha_n', 'mlp.act_fn.alpha_n', 1),
        ]
      : []),
    { name: 'mlp.linear_fc2.weight', shape: [D, F / tp], parts: columns('mlp.down_proj.weight', F) },
  ];
}

/** Rows of the vocabulary on a rank; rows beyond the vocabulary repeat its last one, as Megatron's converters do. */
function vocabularyParts(name: string, model: ModelRecipe, padded: number, tp: number, tensorRank: number): Part[] {
  const rows = padded / tp;
  const first = tensorRank * rows;
  const real = Math.max(0, Math.min(rows, model.vocabularySize - first));
  const parts: Part[] = [];
  if (real > 0) parts.push({ name, row: first, rows: real, col: 0, cols: model.hidden, repeats: false });
  if (real < rows) {
    parts.push({ name, row: model.vocabularySize - 1, rows: rows - real, col: 0, cols: model.hidden, repeats: true });
  }
  return parts;
}

function whole(name: string, rows: number, cols: number): Part {
  return { name, row: 0, rows, col: 0, cols, repeats: false };
}
