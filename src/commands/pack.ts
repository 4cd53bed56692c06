// `belay pack`: documents and a tokenizer become token files.
//
// Does not: do the work; corpus/pack.ts does.
import { stageCommand } from './stage-verb.ts';

export const command = stageCommand({
  stages: ['tokens'],
  brief: 'turn documents into token files',
  about:
    'Encodes the clean documents into Megatron .bin/.idx files, training and validation apart, with a list of which document stands where.',
  example: 'belay pack --out out/demo --recipe recipes/demo.ts',
});
