// `belay sft`: a pretrained model becomes one that answers.
//
// Does not: do the work; sft-stage.ts does.
import { stageCommand } from './stage-verb.ts';

export const command = stageCommand({
  stages: ['sft'],
  brief: 'fine-tune the model on conversations',
  about:
    'Makes conversations from the parallel text and fine-tunes the pretrained model on what the assistant says in them. Stops and goes on like pretrain.',
  example: 'belay sft --out out/demo --recipe recipes/demo.ts',
});
