// Vectors from an encoder in ONNX: XLM-R or a relative, with the tokenizer it was trained with.
//
// A chunk is 512 tokens with `<s>` and `</s>` around them; its vector is the mean of the last hidden states over all of
// them (the attention mask is 1 everywhere, because a chunk is run by itself and never padded). Source: epfml/fineweb2-hq,
// xlmr_embeddings.py, which Apertus' annotator equals; there the weights are bfloat16, here what the file holds.
//
// Does not: hold a runtime; onnx-runtime.ts finds the user's.
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { UserError } from '../../base/errors.ts';
import { errorText } from '../../base/json.ts';
import { tokenizerFileName } from '../../tokenizer/bpe.ts';
import { UnigramTokenizer } from '../../tokenizer/unigram.ts';
import type { Chunks } from './chunks.ts';
import { findOnnxRuntime, type OnnxSession, type OnnxTensor } from './onnx-runtime.ts';

const modelName = 'model.onnx';

/** The files of an encoder: tokenizer, graph, and weights beside the graph where it has them apart. */
export function encoderFiles(dir: string): string[] {
  for (const name of [tokenizerFileName, modelName]) {
    if (existsSync(join(dir, name))) continue;
    throw new UserError(`${dir} is no encoder`, {
      found: `no ${name}`,
      expected: `${modelName} and ${tokenizerFileName}`,
      next: 'docs/data.md, "Classifiers", says how to export one',
    });
  }
  const beside = readdirSync(dir).filter((name) => name.startsWith(`${modelName}_`) || name === `${modelName}.data`);
  return [tokenizerFileName, modelName, ...beside.sort()].map((name) => join(dir, name));
}

/** The chunks of the encoder in a folder. */
export async function onnxChunks(dir: string, tokens: number, threads: number): Promise<Chunks<Int32Array>> {
  const tokenizer = UnigramTokenizer.load(join(dir, tokenizerFileName));
  const path = join(dir, modelName);
  const runtime = findOnnxRuntime();
  let session: OnnxSession;
  try {
    session = await runtime.create(path, threads);
  } catch (cause) {
    throw new UserError(`ONNX Runtime cannot load ${path}`, { found: errorText(cause), cause });
  }
  const known = ['input_ids', 'attention_mask', 'token_type_ids'];
  const strange = session.inputNames.filter((name) => !known.includes(name));
  const output = session.outputNames.find((name) => name === 'last_hidden_state') ?? session.outputNames[0];
  if (strange.length > 0 || !session.inputNames.includes('input_ids') || output === undefined) {
    throw new UserError(`${path} is no encoder of texts`, {
      found: `inputs ${session.inputNames.join(', ')}; outputs ${session.outputNames.join(', ')}`,
      expected: `inputs among ${known.join(', ')}; the output last_hidden_state`,
    });
  }
  // What goes wrong is told by errors, not by the runtime's log.
  const states = async (ids: Int32Array): Promise<OnnxTensor> => {
    const shape = [1, ids.length];
    const all = (value: bigint): OnnxTensor => runtime.int64(new BigInt64Array(ids.length).fill(value), shape);
    const inputs: Record<string, OnnxTensor> = {};
    for (const name of session.inputNames) {
      if (name === 'input_ids') inputs[name] = runtime.int64(BigInt64Array.from(ids, BigInt), shape);
      else inputs[name] = all(name === 'attention_mask' ? 1n : 0n);
    }
    const found = (await session.run(inputs, { logSeverityLevel: 4 }))[output] as OnnxTensor;
    const [batch, length, width] = found.dims;
    if (!(found.data instanceof Float32Array) || batch !== 1 || length !== ids.length || !width) {
      throw new UserError(`${path} is no encoder of texts`, {
        found: `${output} of [${found.dims.join(', ')}], ${found.type}`,
        expected: `[1, ${ids.length}, width] in float32`,
      });
    }
    return found;
  };
  // The last token that there is: a vocabulary of another model shows itself here.
  const last = tokenizer.vocabularySize - 1;
  let probe: OnnxTensor;
  try {
    probe = await states(Int32Array.from([...tokenizer.before, last, ...tokenizer.behind]));
  } catch (cause) {
    if (cause instanceof UserError) throw cause;
    throw new UserError(`the encoder in ${dir} does not run`, {
      found: errorText(cause),
      expected: `a graph that takes the ids of its tokenizer, 0 to ${last}`,
      cause,
    });
  }
  return {
    kind: 'onnx',
    width: probe.dims[2] as number,
    split: (text, most) => tokenizer.chunks(text, tokens, most),
    vector: async (ids) => meanOfRows(await states(ids)),
  };
}

/** The mean over the rows of [1, rows, width]. */
function meanOfRows({ data, dims }: OnnxTensor): Float32Array {
  const values = data as Float32Array;
  const [, rows, width] = dims as readonly [number, number, number];
  const sums = new Float64Array(width);
  for (let at = 0; at < values.length; at += width) {
    for (let i = 0; i < width; i++) sums[i] = (sums[i] as number) + (values[at + i] as number);
  }
  return Float32Array.from(sums, (sum) => sum / rows);
}
