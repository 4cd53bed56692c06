// `belay eval`: measures the models of a run.
//
// Does not: do the work; evaluate/evaluate-stage.ts and memorisation-stage.ts do.
import { stageCommand } from './stage-verb.ts';

export const command = stageCommand({
  stages: ['evaluation', 'memorisation'],
  brief: 'measure a model: losses, questions, memorisation',
  about:
    'Validation loss of the base and the chat model in nats per token and bits per byte, overall and per language, against the unigram of the training tokens; accuracy of the language question; memorisation of the planted probes by small side runs with and without the Goldfish loss.',
  example: 'belay eval --out out/demo --recipe recipes/demo.ts',
});
