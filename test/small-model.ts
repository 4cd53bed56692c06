// A folder with a very small model and its tokenizer, for tests of the verbs that use models.
//
// The weights are random: what it says means nothing, but always the same.
import { join } from 'node:path';
import { writeFileAtomic } from '../src/base/atomic.ts';
import { silentLog } from '../src/base/progress.ts';
import { Apertus } from '../src/model/apertus.ts';
import { modelConfig } from '../src/model/config.ts';
import { saveHfFolder } from '../src/model/hf-folder.ts';
import { defaultBackend } from '../src/tensor/backend-select.ts';
import { Engine } from '../src/tensor/tensor.ts';
import { chatTemplate } from '../src/tokenizer/chat-template.ts';
import { writeTokenizerFiles } from '../src/tokenizer/tokenizer-files.ts';
import { trainBpe } from '../src/tokenizer/train.ts';

/** Writes config.json, model.safetensors, the tokenizer's files and the chat template into `dir`. */
export async function writeSmallModel(dir: string): Promise<void> {
  const vocabulary = await trainBpe(['All human beings are born free and equal. Grüezi 漢字\n'], 345, silentLog);
  const model = new Apertus(
    new Engine(defaultBackend()),
    modelConfig({
      layers: 1,
      hidden: 32,
      intermediate: 48,
      activation: 'xielu',
      heads: 2,
      kvHeads: 1,
      headDim: 16,
      vocabularySize: vocabulary.tokens.length,
      maxPositions: 512,
      ropeTheta: 500_000,
      ropeScaling: null,
      rmsNormEps: 1e-5,
      initStd: 0.4,
    }),
    { gradients: false },
  );
  model.initialise(3);
  saveHfFolder(dir, model, { dtype: 'float32', eosTokenId: 2 });
  writeTokenizerFiles(dir, vocabulary);
  writeFileAtomic(join(dir, 'chat_template.jinja'), chatTemplate);
}
