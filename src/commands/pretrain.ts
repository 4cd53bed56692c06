// `belay pretrain`: token files become a model.
//
// Does not: do the work; pretrain-stage.ts does.
import { stageCommand } from './stage-verb.ts';

export const command = stageCommand({
  stages: ['pretrain'],
  brief: 'train a model on token shards',
  about:
    'Trains the model of the recipe. Ctrl-C or SIGUSR2 saves and stops (exit code 75); the same command goes on with the same bits. Files named save and exit in pretrain/triggers/ do the same from outside.',
  example: 'belay pretrain --out out/demo --recipe recipes/demo.ts',
});
