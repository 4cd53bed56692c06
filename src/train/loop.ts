// The training loop: batches in, a trained model out, at home in a folder it can be continued from.
//
// A step sums the gradients of its micro-batches, clips, updates, and writes one line of metrics. Loss is
// sum(mask * CE) / sum(mask) over the whole step. Data is a function of the step number, so a resume needs no more than
// the step, and the weights after N steps have the same bits however often the run was stopped.
//
// Does not: know where data comes from (corpus/, posttrain/) or what a recipe says (commands/).
import { join } from 'node:path';
import { appendEvent, appendMetrics, cutLines } from '../base/events.ts';
import { Paused, UserError } from '../base/errors.ts';
import type { Log } from '../base/progress.ts';
import type { OptimizerRecipe } from '../base/recipe.ts';
import type { Apertus, TokenBatch } from '../model/apertus.ts';
import { Optimizer } from '../optim/optimizer.ts';
import { learningRate, type Schedule } from '../optim/schedule.ts';
import { checkpointFolders, loadLatestCheckpoint, saveCheckpoint } from './checkpoint.ts';
import { clearTrigger, readTriggers, type RunControl } from './control.ts';

/** A piece of a step: B rows of T tokens, what to predict and which predictions count. */
export interface TrainingBatch {
  readonly batch: TokenBatch;
  /** The token after each token; [B*T]. */
  readonly labels: Int32Array;
  /** Weight of each prediction in the loss; [B*T]. */
  readonly lossMask: Float32Array;
}

export interface TrainingData {
  /** Sequences of one step. */
  readonly samplesPerStep: number;
  /** The micro-batches of a step (from 0); a function of the step alone. */
  step(step: number): readonly TrainingBatch[];
  /** Lets go of open files; called by whoever made the data, when training is over. */
  close?(): void;
}

export interface TrainOptions {
  /** Run folder: checkpoints/, metrics.jsonl, events.jsonl, triggers/. Without it nothing is kept (side runs). */
  readonly dir?: string;
  readonly model: Apertus;
  readonly data: TrainingData;
  readonly steps: number;
  readonly schedule: Schedule;
  readonly optimizer: OptimizerRecipe;
  readonly gradientClip: number;
  readonly checkpointEverySteps: number;
  readonly keepCheckpoints: number;
  readonly log: Log;
  /** Shown before the progress line. */
  readonly label: string;
  readonly control?: RunControl;
  /** Go on from a checkpoint of another dispatch target, giving up the promise of equal bits. */
  readonly allowOtherTarget?: boolean;
  /** Called every `validateEverySteps` steps (0: never); the number goes to the metrics as `validationLoss`. */
  readonly validateEverySteps?: number;
  readonly validate?: () => number;
}

export interface TrainResult {
  readonly steps: number;
  readonly tokens: number;
  /** Loss of the last step. */
  readonly loss: number;
  /** Dispatch target and precision that made the weights. */
  readonly target: string;
  readonly compute: string;
}

/** Names in a run folder that are not part of its artefact. */
export const runFiles = ['checkpoints', 'metrics.jsonl', 'events.jsonl', 'triggers'] as const;

/** Trains for `options.steps` steps in all, going on from the newest whole checkpoint. */
export async function train(options: TrainOptions): Promise<TrainResult> {
  const { dir, model, data, steps, log, label, control } = options;
  const { engine, parameters } = model;
  const { backend, compute } = engine;
  const optimizer = new Optimizer(parameters, options.optimizer, steps);
  const event = (name: string, fields: Parameters<typeof appendEvent>[2] = {}): void => {
    if (dir) appendEvent(join(dir, 'events.jsonl'), name, fields);
  };

  let step = 0;
  let loss = 0;
  let saved = 0;
  if (dir) {
    const state = resume(dir, options, optimizer, event);
    if (state) ({ step, loss } = state);
    saved = step;
  }
  const save = (): void => {
    if (!dir || saved === step) return;
    const started = performance.now();
    const state = { step, samples: step * data.samplesPerStep, target: backend.target, compute, loss };
    saveCheckpoint(join(dir, 'checkpoints'), state, parameters, optimizer, options.keepCheckpoints);
    saved = step;
    event('checkpoint', { step, seconds: (performance.now() - started) / 1000 });
  };

  control?.watch();
  const progress = log.progress(label, steps, 'steps');
  progress.update(step);
  try {
    while (step < steps) {
      const started = performance.now();
      const lr = learningRate(options.schedule, step * data.samplesPerStep);
      const taken = takeStep(model, data.step(step), lr, optimizer, options.gradientClip);
      step++;
      loss = taken.loss;
      if (!Number.isFinite(loss) || !Number.isFinite(taken.gradientNorm)) {
        event('not-finite', { step, loss: String(loss), gradientNorm: String(taken.gradientNorm) });
        throw new UserError(`training stopped at step ${step}: the numbers left the range of float32`, {
          found: `loss ${loss}, gradient norm ${taken.gradientNorm}`,
          next: `lower the learning rate; the last checkpoint is of step ${saved}`,
        });
      }
      const rate = taken.tokens / ((performance.now() - started) / 1000);
      const every = options.validateEverySteps ?? 0;
      const validates = options.validate !== undefined && every > 0 && step % every === 0 && step < steps;
      if (dir) {
        appendMetrics(join(dir, 'metrics.jsonl'), {
          step,
          samples: step * data.samplesPerStep,
          tokens: step * taken.tokens,
          loss,
          lr,
          gradientNorm: taken.gradientNorm,
          clip: taken.clip,
          maskShare: taken.maskShare,
          tokensPerSecond: Math.round(rate),
          ...(validates ? { validationLoss: options.validate() } : {}),
        });
      }
      progress.update(step, `loss ${loss.toFixed(3)}, ${Math.round(rate)} tokens/s`);
      if (step % options.checkpointEverySteps === 0 && step < steps) save();
      await new Promise(setImmediate);
      if (dir && step < steps) obey(dir, step, control, save, event);
    }
    save();
    // What was asked during the last step and its save is still to be heard, or nobody ever hears it.
    await new Promise(setImmediate);
    if (dir) obey(dir, step, control, save, event);
  } finally {
    control?.release();
  }
  progress.finish(`${steps} steps, loss ${loss.toFixed(4)}`);
  event('finished', { step, loss });
  return { steps, tokens: tokensOf(data) * steps, loss, target: backend.target, compute };
}

interface Step {
  readonly loss: number;
  readonly gradientNorm: number;
  readonly clip: number;
  /** Tokens read, and the share of predictions that counted. */
  readonly tokens: number;
  readonly maskShare: number;
}

/** One optimizer step over the micro-batches. */
export function takeStep(
  model: Apertus,
  batches: readonly TrainingBatch[],
  lr: number,
  optimizer: Optimizer,
  maxNorm: number | null,
): Step {
  const { engine, parameters } = model;
  let weight = 0;
  let tokens = 0;
  for (const { lossMask } of batches) {
    tokens += lossMask.length;
    for (let n = 0; n < lossMask.length; n++) weight += lossMask[n] as number;
  }
  parameters.zeroGradients();
  let loss = 0;
  for (const { batch, labels, lossMask } of batches) {
    const coefficient = lossMask.map((value) => (weight > 0 ? value / weight : 0));
    loss += engine.gradients(() => model.loss(batch, labels, coefficient));
  }
  const { gradientNorm, clip } = optimizer.update(lr, maxNorm);
  return { loss, gradientNorm, clip, tokens, maskShare: weight / tokens };
}

type EventWriter = (name: string, fields?: Parameters<typeof appendEvent>[2]) => void;

function resume(
  dir: string,
  options: TrainOptions,
  optimizer: Optimizer,
  event: EventWriter,
): { readonly step: number; readonly loss: number } | undefined {
  const { model, log } = options;
  const { backend, compute } = model.engine;
  const checkpoints = join(dir, 'checkpoints');
  const state = loadLatestCheckpoint(checkpoints, model.parameters, optimizer, (folder, why) => {
    log.line(`${folder} is damaged (${why}); trying the one before it`);
    event('damaged-checkpoint', { folder, why });
  });
  if (!state) {
    cutLines(join(dir, 'metrics.jsonl'), () => false);
    if (checkpointFolders(checkpoints).length > 0)
      log.line('no whole checkpoint is left: training starts from the beginning');
    event('start', { target: backend.target, compute });
    return undefined;
  }
  if ((state.target !== backend.target || state.compute !== compute) && !options.allowOtherTarget) {
    throw new UserError(`${dir} was trained on other kernels, so its bits could not be continued`, {
      found: `${backend.target}, ${compute} here`,
      expected: `${state.target}, ${state.compute} as in the checkpoint of step ${state.step}`,
      next: `set BELAY_TARGET=${state.target}, or give --allow-other-target to go on with other rounding`,
    });
  }
  cutLines<{ step: number }>(join(dir, 'metrics.jsonl'), (line) => line.step <= state.step);
  event('resume', { step: state.step, target: backend.target, compute });
  if (state.step > 0) log.line(`${options.label}: going on from the checkpoint of step ${state.step}`);
  return state;
}

/** Looks at triggers and requests after a step. */
function obey(dir: string, step: number, control: RunControl | undefined, save: () => void, event: EventWriter): void {
  const triggers = readTriggers(dir);
  const leave = triggers.exit || control?.request !== undefined;
  if (triggers.save || (leave && control?.request !== 'exit-now')) save();
  if (triggers.save) clearTrigger(dir, 'save');
  if (!leave) return;
  if (triggers.exit) clearTrigger(dir, 'exit');
  event('paused', { step, by: triggers.exit ? 'trigger' : (control?.request ?? '') });
  throw new Paused(`paused after step ${step} of ${dir}; the same command goes on from there`);
}

/** Tokens of one step. */
function tokensOf(data: TrainingData): number {
  return data.step(0).reduce((sum, { labels }) => sum + labels.length, 0);
}
