// `belay eval`: measures the models of a run.
//
// Does not: do the work; evaluate/evaluate-stage.ts does.
import { stageCommand } from './stage-verb.ts';

export const command = stageCommand({
  stage: 'evaluation',
  brief: 'measure a model: losses, questions',
  about:
    'Validation loss of the base and the chat model in nats per token and bits per byte, overall and per language, against the unigram of the training tokens; accuracy of the language question.',
  example: 'belay eval --out out/demo --recipe recipes/demo.ts',
});
