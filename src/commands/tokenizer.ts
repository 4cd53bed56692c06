// `belay tokenizer`: trains tokenizers and measures them.
//
// Does not: do the work; tokenizer/train-stage.ts and tokenizer-eval.ts do.
import { buildRouteMap } from '@stricli/core';
import { stageCommand } from './stage-verb.ts';
import { command as evaluate } from './tokenizer-eval.ts';

const train = stageCommand({
  stages: ['tokenizer'],
  brief: 'train a tokenizer on the clean documents',
  about: 'Byte-level BPE with the reserved ids of Apertus, trained on the training documents only.',
  example: 'belay tokenizer train --out out/demo --recipe recipes/demo.ts',
});

export const command = buildRouteMap({
  routes: { train, eval: evaluate },
  defaultCommand: 'train',
  docs: {
    brief: 'train tokenizers, and measure them side by side',
    fullDescription:
      'EXAMPLE\n  belay tokenizer train --out out/demo\n  belay tokenizer eval --tokenizer out/demo/tokenizer --udhr',
  },
});
