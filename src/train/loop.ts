// The training loop: phases and batches in, a trained model out, at home in a folder it can be continued from.
//
// Each step: gradients over all shards and ranks (step.ts), the guard's verdict, the update, one line of metrics; then
// checkpoints, triggers and requests, on which all ranks agree first. What a step reads and at which rate is a function
// of its number (curriculum.ts), so a resume needs the number alone, and the weights after N steps have the same bits
// however often, and on however many ranks, the run went on. Rank 0 writes the metrics and events; every rank writes its
// part of the checkpoints.
//
// Does not: know where data comes from (corpus/, posttrain/), what a recipe says or how ranks are started (commands/).
import { join } from 'node:path';
import { Paused, UserError } from '../base/errors.ts';
import { appendEvent } from '../base/events.ts';
import type { Json } from '../base/json.ts';
import type { Progress } from '../base/progress.ts';
import { Optimizer } from '../optim/optimizer.ts';
import { type Group, soloGroup } from '../parallel/group.ts';
import { ownedRange } from '../parallel/layout.ts';
import { Attempt } from './attempt.ts';
import { agree, tellAll } from './agree.ts';
import type { LoadOptions } from './checkpoint-reader.ts';
import { resumeFrom } from './resume.ts';
import type { TrainOptions, TrainResult } from './train-options.ts';
import type { CheckpointState } from './checkpoint-state.ts';
import { CheckpointWriter, type SaveReport } from './checkpoint-writer.ts';
import { clearTrigger, readTriggers } from './control.ts';
import type { Curriculum, Phase, Place } from './curriculum.ts';
import { guardDefaults, type GuardEvent, type GuardRecipe, LossGuard, type Verdict } from './guard.ts';
import { SaveInterval } from './interval.ts';
import { MetricsLog } from './metrics-log.ts';
import { Stepper, type StepRows, type TrainingData } from './step.ts';
import { StepLog } from './step-log.ts';
import { StepTelemetry } from './step-telemetry.ts';

export type { TrainOptions, TrainResult } from './train-options.ts';

/** Names in a run folder that are not part of its artefact. */
export const runFiles = ['checkpoints', 'attempts', 'metrics.jsonl', 'tb', 'events.jsonl', 'triggers'] as const;

/** Those that others make, perhaps before the training begins: what was asked for then is heard. */
export const earlyFiles = ['triggers'] as const;

/** Trains to the end of the curriculum, going on from the newest whole checkpoint. */
export async function train(options: TrainOptions): Promise<TrainResult> {
  const training = new Training(options);
  options.control?.watch();
  let hasEnded = false;
  try {
    const result = await training.run();
    hasEnded = true;
    return result;
  } finally {
    options.control?.release();
    await training.close(hasEnded);
  }
}

/** Steps before the end of a phase at which the data of the next one are opened. */
const stepsAhead = 10;

/** What the ranks may ask of each other after a step, as bits. */
const asks = { save: 1, pause: 2, leave: 4, dueSave: 8, byTrigger: 16 } as const;

class Training {
  private readonly options: TrainOptions;
  private readonly group: Group;
  private readonly optimizer: Optimizer;
  private readonly guardRecipe: GuardRecipe;
  private guard: LossGuard;
  private readonly metrics: MetricsLog | undefined;
  private readonly telemetry: StepTelemetry;
  private readonly interval: SaveInterval;
  private readonly isFirst: boolean;
  /** Base of RoPE before any phase changed it. */
  private readonly ropeTheta: number;
  private attempt: Attempt | undefined;
  private writer: CheckpointWriter | undefined;
  private steps: StepLog | undefined;
  private phase: Phase | undefined;
  private data: TrainingData | undefined;
  private stepper: Stepper | undefined;
  /** Data of the phase to come, which make their indices while the one before it ends. */
  private next: { readonly phase: Phase; readonly data: TrainingData } | undefined;
  /** Steps taken, and the loss of the last one. */
  private step = 0;
  private loss = 0;
  /** Last step that was saved, or is being saved. */
  private saved = 0;
  /** Samples whose batches were passed over. */
  private skippedSamples = 0;

  constructor(options: TrainOptions) {
    this.options = options;
    const { dir, model, optimizer, curriculum, group = soloGroup() } = options;
    this.group = group;
    this.isFirst = group.rank === 0;
    this.ropeTheta = model.config.ropeTheta;
    const owned = ownedRange(model.parameters.size, group.rank, group.world);
    this.optimizer = new Optimizer(model.parameters, optimizer, curriculum.steps, owned);
    this.guardRecipe = options.guard ?? { ...guardDefaults, spikeFactor: null };
    this.guard = new LossGuard(this.guardRecipe);
    this.metrics = dir !== undefined && this.isFirst ? new MetricsLog(dir) : undefined;
    this.telemetry = new StepTelemetry({
      model,
      group,
      curriculum,
      normsEverySteps: dir === undefined ? 0 : (options.normsEverySteps ?? 0),
      flopsPerToken: options.flopsPerToken ?? (() => 0),
    });
    this.interval = new SaveInterval({ everySteps: null, meanSecondsBetweenFailures: 86_400, ...options.saving });
  }

  async run(): Promise<TrainResult> {
    const { curriculum, log, label, model } = this.options;
    this.begin();
    const progress = log.progress(label, curriculum.steps, 'steps');
    progress.update(this.step);
    while (this.step < curriculum.steps) {
      const place = curriculum.at(this.step);
      await this.enter(place);
      const went = await this.takeStep(place, progress);
      await new Promise(setImmediate);
      if (!went) continue;
      await this.endPhase(place.phase);
      if (this.step < curriculum.steps) await this.obey();
    }
    // A run that was over when it was taken up again has entered no phase.
    this.setContext(curriculum.phases.at(-1) as Phase);
    await this.save();
    // What was asked during the last step and its save is still to be heard, or nobody ever hears it.
    await new Promise(setImmediate);
    await this.obey();
    await this.flushSave();
    progress.finish(`${curriculum.steps} steps, loss ${this.loss.toFixed(4)}`);
    this.event('finished', { step: this.step, loss: this.loss });
    const { target } = model.engine.backend;
    return { steps: this.step, tokens: curriculum.tokens, loss: this.loss, target, compute: model.engine.compute };
  }

  /** A save under way when training fails is given up: it may wait for a rank that is gone. */
  async close(hasEnded: boolean): Promise<void> {
    await this.data?.close?.();
    await this.next?.data.close?.();
    this.metrics?.close();
    this.steps?.close();
    await this.writer?.close(hasEnded ? Number.POSITIVE_INFINITY : 2);
    this.options.pulse?.at('ended');
  }

  /** Claims the next attempt and goes on from the newest whole checkpoint, on every rank the same one. */
  private begin(): void {
    const { dir, model, saving, log, startedBy } = this.options;
    if (dir === undefined) return;
    const claimed = this.isFirst ? Attempt.begin(dir, { ranks: this.group.world, startedBy }) : undefined;
    const found = claimed && this.load({ attempt: claimed });
    const first = tellAll(this.group, { number: claimed?.number, token: claimed?.token, step: found?.step ?? null });
    const attempt = claimed ?? Attempt.join(dir, first['number'] as number, first['token'] as string);
    this.attempt = attempt;
    const state = this.isFirst || first['step'] === null ? found : this.load({ step: first['step'] as number });
    this.restore(state);
    if (state) {
      const { guard, telemetry } = state.guard as { readonly guard: Json; readonly telemetry: Json };
      this.guard = new LossGuard(this.guardRecipe, guard);
      this.telemetry.restore(telemetry);
    }
    if (this.isFirst) {
      this.metrics?.cut(this.step);
      this.steps = new StepLog(attempt.dir);
    }
    this.options.pulse?.began(attempt.number, this.step);
    const { target } = model.engine.backend;
    const fields = { target, compute: model.engine.compute, ranks: this.group.world, attempt: attempt.number };
    this.event(state ? 'resume' : 'start', { ...(state ? { step: state.step } : {}), ...fields });
    if (this.step > 0) log.line(`${this.options.label}: going on from the checkpoint of step ${this.step}`);
    this.telemetry.measureLimit();
    this.writer = new CheckpointWriter({
      dir: join(dir, 'checkpoints'),
      parameters: model.parameters,
      optimizer: this.optimizer,
      rank: this.group.rank,
      world: this.group.world,
      attempt,
      retention: saving?.retention ?? { keepLast: 2, keepEverySteps: null, keepPhaseEnds: false },
      onSaved: ({ step, seconds, bytes }: SaveReport) => {
        this.interval.saved(seconds);
        this.event('checkpoint', { step, seconds, bytes });
      },
    });
  }

  private load(which: LoadOptions): CheckpointState | undefined {
    const { dir, ...options } = this.options;
    const event: typeof this.event = (name, fields) => this.event(name, fields);
    return resumeFrom({ ...options, dir: dir as string, optimizer: this.optimizer, event }, which);
  }

  private restore(state: CheckpointState | undefined): void {
    this.step = state?.step ?? 0;
    this.loss = state?.loss ?? 0;
    this.saved = this.step;
    this.phase = undefined;
    this.skippedSamples = (state?.skipped ?? []).reduce((sum, [from, to]) => sum + to - from, 0);
  }

  /** Opens what the phase of a step needs, where it is another one than before. */
  private async enter({ phase }: Place): Promise<void> {
    if (phase === this.phase) return;
    const { model, curriculum, openData, pulse } = this.options;
    // Indices of new data may take minutes.
    pulse?.at('starting');
    await this.data?.close?.();
    if (this.next && this.next.phase !== phase) await this.next.data.close?.();
    this.data = this.next?.phase === phase ? this.next.data : openData(phase);
    this.next = undefined;
    this.phase = phase;
    this.setContext(phase);
    model.engine.memory.trim();
    if (phase.resetOptimizer && this.step === phase.startStep && this.step > 0) this.optimizer.reset();
    this.optimizer.warmUpOver(stepsOfOptimizer(curriculum, phase));
    if (this.stepper?.shards !== phase.shards) {
      this.stepper = new Stepper(model, this.optimizer, phase.shards, this.group);
    }
    if (curriculum.phases.length === 1) return;
    if (this.step === phase.startStep) this.guard.newPhase(this.step);
    this.event('phase', { step: this.step, phase: phase.name });
  }

  /** The model's context is that of a phase, whichever phase was the last to change it: a rollback goes to earlier ones. */
  private setContext({ ropeTheta, sequenceLength }: Phase): void {
    this.options.model.setContext(ropeTheta ?? this.ropeTheta, sequenceLength);
  }

  /** Takes one step, or passes its batch over; false where the run was rolled back instead. */
  private async takeStep(place: Place, progress: Progress): Promise<boolean> {
    const { curriculum, gradientClip, validate, validateEverySteps = 0, dir, pulse } = this.options;
    const data = this.data as TrainingData;
    const stepper = this.stepper as Stepper;
    const onExchange = (): void => pulse?.at('exchange');
    const step = this.step + 1;
    if (this.guard.skips(step)) {
      this.passOver(place);
      this.metrics?.write(step, { ...this.consumed(), skippedSamples: this.skippedSamples });
      this.steps?.write(step, 0);
      return true;
    }
    this.telemetry.start();
    if (step < curriculum.steps && curriculum.at(step).phase === place.phase) {
      stepper.prefetch(data, rowsOf(curriculum.at(step)));
    }
    this.openAhead(place.phase);
    pulse?.at('gradients');
    let gradients = await stepper.gradients(data, rowsOf(place), dir !== undefined, onExchange);
    let verdict = this.guard.judge({ step, loss: gradients.loss, gradientNorm: gradients.norm });
    this.report(verdict.events);
    while (verdict.kind === 'retry') {
      pulse?.at('gradients');
      gradients = await stepper.gradients(data, rowsOf(place), dir !== undefined, onExchange);
      verdict = this.guard.judge({ step, loss: gradients.loss, gradientNorm: gradients.norm });
      this.report(verdict.events);
    }
    if (verdict.kind === 'stop') {
      throw new UserError(`training stopped at step ${step}: ${verdict.why}`, {
        next: `lower the learning rate or look at the data of that step; the last checkpoint is of step ${this.saved}`,
      });
    }
    if (verdict.kind === 'rollback') {
      await this.rollBack(step, verdict);
      return false;
    }
    const gradientNorms = this.telemetry.gradientNorms(step, this.optimizer, gradients);
    let clip: number | undefined;
    if (verdict.kind === 'skip') {
      this.event('skipped-batch', { step, why: verdict.why });
      this.passOver(place);
    } else {
      pulse?.at('update');
      clip = stepper.update(gradients, place.learningRate, gradientClip);
      this.loss = gradients.loss;
      this.step = step;
    }
    const timing = this.telemetry.finish(place, step, gradients);
    this.interval.stepTaken(timing.secondsPerStep);
    pulse?.took(step, timing.secondsPerStep, stepper.busySeconds, stepper.ownShards);
    this.steps?.write(step, timing.secondsPerStep, gradients);
    const validates = validate && validateEverySteps > 0 && step % validateEverySteps === 0 && step < curriculum.steps;
    if (validates) pulse?.at('validating');
    this.metrics?.write(step, {
      ...this.consumed(),
      phase: curriculum.phases.length > 1 ? place.phase.index : undefined,
      loss: gradients.loss,
      lr: place.learningRate,
      batchSize: place.batchSize,
      gradientNorm: gradients.norm,
      clip,
      maskShare: gradients.maskShare,
      skippedSamples: this.skippedSamples > 0 ? this.skippedSamples : undefined,
      ranks: this.group.world > 1 ? this.group.world : undefined,
      ...timing,
      ...gradientNorms,
      ...this.telemetry.parameterNorms(step),
      validationLoss: validates && this.isFirst ? validate() : undefined,
    });
    pulse?.at('between steps');
    progress.update(step, `loss ${gradients.loss.toFixed(3)}, ${Math.round(timing.tokensPerSecond)} tokens/s`);
    return true;
  }

  /** Opens the data of the next phase some steps before it begins. */
  private openAhead({ index, startStep, steps }: Phase): void {
    const { curriculum, openData } = this.options;
    const phase = curriculum.phases[index + 1];
    if (!phase || this.next || this.step < startStep + steps - stepsAhead) return;
    this.next = { phase, data: openData(phase) };
  }

  /** A step without an update: its samples count as consumed. */
  private passOver({ batchSize }: Place): void {
    this.skippedSamples += batchSize;
    this.step++;
  }

  private report(events: readonly GuardEvent[]): void {
    for (const { name, fields } of events) this.event(name, fields);
  }

  /** Goes back to a checkpoint before a bad stretch, whose batches the guard then passes over. */
  private async rollBack(step: number, { toStep, skipFromStep, skipToStep, why }: Rollback): Promise<void> {
    const { dir, model, label, log } = this.options;
    if (dir === undefined) {
      throw new UserError(`training stopped at step ${step}: ${why}`, {
        next: 'lower the learning rate; a run without a folder has nothing to go back to',
      });
    }
    await this.flushSave();
    this.options.pulse?.at('starting');
    this.group.barrier();
    const attempt = this.attempt as Attempt;
    const found = this.isFirst ? this.load({ attempt, atMostStep: toStep }) : undefined;
    const first = tellAll(this.group, { step: found?.step ?? null });
    const state = this.isFirst || first['step'] === null ? found : this.load({ step: first['step'] as number });
    if (!state) {
      const { restart = () => model.initialise(this.options.seed) } = this.options;
      restart();
      this.optimizer.reset();
    }
    this.restore(state);
    this.telemetry.restore((state?.guard as { readonly telemetry?: Json } | undefined)?.telemetry);
    await this.writer?.abandonAfter(this.step);
    if (this.isFirst) this.metrics?.cut(this.step);
    this.event('rolled-back', { from: step, to: this.step });
    log.line(
      `${label}: ${why}; back to step ${this.step}, and past the batches of steps ${skipFromStep} to ${skipToStep}`,
    );
  }

  /** Samples and tokens read or passed over so far. */
  private consumed(): { samples: number; tokens: number } {
    const { curriculum } = this.options;
    return { samples: curriculum.at(this.step).samples, tokens: curriculum.tokensBefore(this.step) };
  }

  private async endPhase(phase: Phase): Promise<void> {
    const { saving, curriculum, onPhaseEnd } = this.options;
    if (this.step !== phase.startStep + phase.steps) return;
    // Measured before it is saved: a run that goes on from there never comes past this point again.
    if (onPhaseEnd) {
      this.options.pulse?.at('validating');
      const facts = this.isFirst ? await onPhaseEnd(phase) : {};
      this.event('phase-end', { step: this.step, phase: phase.name, ...facts });
      this.group.barrier();
    }
    if (saving?.retention.keepPhaseEnds && curriculum.phases.length > 1) await this.save(true);
  }

  /** Ranges of samples that were passed over so far. */
  private skippedRanges(): [number, number][] {
    const { curriculum } = this.options;
    const ranges: [number, number][] = [];
    for (let step = 0; step < this.step && this.skippedSamples > 0; step++) {
      if (!this.guard.skips(step + 1)) continue;
      const from = curriculum.at(step).samples;
      const to = curriculum.at(step + 1).samples;
      const last = ranges.at(-1);
      if (last && last[1] === from) last[1] = to;
      else ranges.push([from, to]);
    }
    return ranges;
  }

  private async save(phaseEnd = false): Promise<void> {
    const { writer, options } = this;
    if (!writer || (this.saved === this.step && !phaseEnd)) return;
    options.pulse?.at('saving');
    this.metrics?.flush();
    const { backend, compute } = options.model.engine;
    const place = options.curriculum.at(this.step);
    this.interval.saveBegan();
    await writer.save({
      step: this.step,
      samples: place.samples,
      phase: place.phase.index,
      phaseSamples: place.phaseSamples,
      phaseEnd,
      seed: options.seed,
      target: backend.target,
      compute,
      loss: this.loss,
      skipped: this.skippedRanges(),
      guard: { guard: this.guard.state(), telemetry: this.telemetry.state() },
    });
    this.saved = this.step;
    options.pulse?.at('between steps');
  }

  /** Waits for a save under way, which may take much longer than a step. */
  private async flushSave(): Promise<void> {
    const { pulse } = this.options;
    pulse?.at('saving');
    await this.writer?.flush();
    pulse?.at('between steps');
  }

  /** Looks at triggers, requests and the time of the next save, and does what any rank was asked for. */
  private async obey(): Promise<void> {
    const { dir, control } = this.options;
    if (dir === undefined) return;
    const triggers = this.isFirst ? readTriggers(dir) : { save: false, exit: false };
    let bits = 0;
    if (triggers.save) bits |= asks.save;
    if (triggers.exit) bits |= asks.pause | asks.byTrigger;
    if (control?.request === 'save-and-exit') bits |= asks.pause;
    if (control?.request === 'exit-now') bits |= asks.leave;
    if (this.isFirst && this.interval.isDue(this.step)) bits |= asks.dueSave;
    const agreed = agree(this.group, bits);
    const leaves = (agreed & (asks.pause | asks.leave)) !== 0;
    if (agreed & (asks.save | asks.pause | asks.dueSave) && !(agreed & asks.leave)) await this.save();
    if (agreed & asks.save || leaves) await this.flushSave();
    if (this.isFirst && agreed & asks.save) clearTrigger(dir, 'save');
    if (!leaves) return;
    if (this.isFirst && agreed & asks.byTrigger) clearTrigger(dir, 'exit');
    const by = agreed & asks.byTrigger ? 'trigger' : agreed & asks.leave ? 'exit-now' : 'save-and-exit';
    this.event('paused', { step: this.step, by });
    throw new Paused(`paused after step ${this.step} of ${dir}; the same command goes on from there`);
  }

  private event(name: string, fields: Readonly<Record<string, Json>>): void {
    const { dir } = this.options;
    if (dir !== undefined && this.isFirst) appendEvent(join(dir, 'events.jsonl'), name, fields);
  }
}

type Rollback = Extract<Verdict, { kind: 'rollback' }>;

function rowsOf({ phase, phaseSamples, batchSize }: Place): StepRows {
  return { first: phase.dataStart + phaseSamples, batchSize, microBatchSize: phase.microBatchSize };
}

/** Steps from the last reset of the optimizer at or before a phase to the next one, or the end. */
function stepsOfOptimizer({ phases, steps }: Curriculum, phase: Phase): number {
  const resets = phases.filter(({ resetOptimizer }) => resetOptimizer).map(({ startStep }) => startStep);
  const from = resets.filter((at) => at <= phase.startStep).at(-1) ?? 0;
  const to = resets.find((at) => at > phase.startStep) ?? steps;
  return to - from;
}
