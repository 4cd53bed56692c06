// Opens a Hugging Face folder, continues some ids greedily and says how likely the model finds given ids.
//
//   node --import tsx examples/score-folder.ts out/demo/release 1,372,25,991
import { pathToFileURL } from 'node:url';
import { defaultBackend, Engine, generate, loadHfFolder, parameterCount, scoreSequences } from '../src/index.ts';

export interface Scored {
  readonly parameters: number;
  /** Natural log of the probability of each id after the first. */
  readonly logprobs: readonly number[];
  /** Mean of their negatives: the loss in nats per token. */
  readonly loss: number;
  readonly continuation: readonly number[];
}

export function scoreFolder(dir: string, ids: readonly number[]): Scored {
  // Without gradients only the weights are held.
  const model = loadHfFolder(dir, new Engine(defaultBackend()), { gradients: false });
  const [scores] = scoreSequences(model, [{ ids }]);
  const logprobs = Array.from(scores ?? []);
  const [next] = generate(model, [ids], { maxTokens: 8 });
  return {
    parameters: parameterCount(model.config),
    logprobs,
    loss: -logprobs.reduce((sum, logprob) => sum + logprob, 0) / logprobs.length,
    continuation: next?.ids ?? [],
  };
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const [dir = 'test/golden/model/hf', ids = '1,20,30,40'] = process.argv.slice(2);
  console.log(scoreFolder(dir, ids.split(',').map(Number)));
}
