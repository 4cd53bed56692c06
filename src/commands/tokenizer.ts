// `belay tokenizer`: trains the tokenizer of a run.
//
// Does not: do the work; tokenizer/train-stage.ts does.
import { buildRouteMap } from '@stricli/core';
import { stageCommand } from './stage-verb.ts';

const train = stageCommand({
  stages: ['tokenizer'],
  brief: 'train a tokenizer on the clean documents',
  about: 'Byte-level BPE with the reserved ids of Apertus, trained on the training documents only.',
  example: 'belay tokenizer train --out out/demo --recipe recipes/demo.ts',
});

export const command = buildRouteMap({
  routes: { train },
  defaultCommand: 'train',
  docs: {
    brief: 'train a tokenizer on the clean documents',
    fullDescription: 'EXAMPLE\n  belay tokenizer train --out out/demo',
  },
});
