// `belay release`: models become a folder for others.
//
// Does not: do the work; release/export.ts does.
import { stageCommand } from './stage-verb.ts';

export const command = stageCommand({
  stages: ['release'],
  brief: 'make the folder that others can load, with its papers',
  about:
    'A Hugging Face folder with weights, tokenizer, chat template, model card, data summary and the manifests of everything it was made from.',
  example: 'belay release --out out/demo --recipe recipes/demo.ts',
});
