// Saves checkpoints while training goes on: the loop stops only for a copy in memory.
//
// `save` copies this rank's part (rank 0: the weights; every rank: its range of each moment) into buffers of its own
// and hands them to a thread that writes, flushes, hashes and commits (checkpoint-commit.ts). There is one set of
// buffers, 4 bytes per parameter on rank 0 and 4 per moment and element of the range on every rank: a save that comes
// before the one before it is done waits, so a second set would only help a run that saves all the time.
//
// Does not: decide when to save (interval.ts, loop.ts).
import { dirname } from 'node:path';
import type { Worker } from 'node:worker_threads';
import { schemaProblems } from '../base/schema.ts';
import { UserError } from '../base/errors.ts';
import { startThread } from '../base/thread.ts';
import type { ParameterSet } from '../tensor/parameters.ts';
import { safetensorsHead } from '../tensor/safetensors.ts';
import type { Attempt } from './attempt.ts';
import { abandonAfter } from './checkpoint-commit.ts';
import { optimizerName, weightsName } from './checkpoint-folder.ts';
import {
  checkpointStateSchema,
  type NewCheckpointState,
  type Retention,
  type SavedOptimizer,
} from './checkpoint-state.ts';
import type { RequestedFile, WriterAnswer, WriterFacts, WriterRequest } from './checkpoint-writer-thread.ts';

export interface SaveReport {
  readonly step: number;
  readonly folder: string;
  /** From the copy to the moved `latest`. */
  readonly seconds: number;
  /** Of all files of this rank. */
  readonly bytes: number;
}

export interface CheckpointWriterOptions {
  /** `checkpoints/` in the folder of the stage that the attempt is of. */
  readonly dir: string;
  readonly parameters: ParameterSet;
  readonly optimizer: SavedOptimizer;
  readonly rank: number;
  readonly world: number;
  readonly attempt: Attempt;
  readonly retention: Retention;
  /** Told on rank 0 when a checkpoint is committed and `latest` names it. */
  readonly onSaved?: (report: SaveReport) => void;
  /** How long rank 0 waits for the files of other ranks before a save fails; 600 s. */
  readonly patienceSeconds?: number;
}

const newStateSchema = checkpointStateSchema.omit({ format: true, files: true, attempt: true, ranks: true });

export class CheckpointWriter {
  /** Seconds the last whole save took, from the copy to the commit (rank 0) or to its own files; undefined before one. */
  lastSaveSeconds: number | undefined;
  private readonly options: CheckpointWriterOptions;
  private readonly sources: readonly Float32Array[];
  private thread: Worker | undefined;
  /** The buffers while they are here. */
  private buffers: readonly ArrayBuffer[] | undefined;
  /** Settles when the thread has answered; never rejects. */
  private underWay: Promise<void> = Promise.resolve();
  private settle: () => void = () => {};
  private whenDone: (answer: WriterAnswer) => void = () => {};
  private failure: Error | undefined;
  private saves = 0;
  private closed = false;

  constructor(options: CheckpointWriterOptions) {
    this.options = options;
    const { parameters, optimizer, rank } = options;
    this.sources = [...(rank === 0 ? [parameters.values] : []), ...optimizer.state.values()];
    this.start();
  }

  /** Whether a save is being written. */
  get isSaving(): boolean {
    return this.buffers === undefined && this.saves > 0;
  }

  /**
   * Copies what is to be saved, first waiting for a save still under way, and returns; a thread does the rest. All ranks
   * call it for the same steps in the same order. Throws what went wrong in the save before.
   */
  async save(state: NewCheckpointState): Promise<{ readonly stallSeconds: number }> {
    const started = performance.now();
    const parsed = newStateSchema.safeParse(state);
    if (!parsed.success) throw new Error(`checkpoint: ${schemaProblems(parsed.error)}`);
    if (this.closed) throw new Error('checkpoint: the writer is closed');
    await this.flush();
    this.options.attempt.assertCurrent();
    if (!this.buffers) {
      this.start();
      await this.underWay;
      this.throwFailure();
    }
    const buffers = this.buffers as readonly ArrayBuffer[];
    const copying = performance.now();
    for (const [index, source] of this.sources.entries()) new Float32Array(buffers[index] as ArrayBuffer).set(source);
    const copySeconds = (performance.now() - copying) / 1000;
    const number = ++this.saves;
    this.ask({ save: { number, state, files: this.files() }, buffers }, ({ folder, seconds: threadSeconds = 0 }) => {
      const seconds = copySeconds + threadSeconds;
      this.lastSaveSeconds = seconds;
      const bytes = this.sources.reduce((sum, { byteLength }) => sum + byteLength, 0);
      if (folder !== undefined) this.options.onSaved?.({ step: state.step, folder, seconds, bytes });
    });
    return { stallSeconds: (performance.now() - started) / 1000 };
  }

  /** Waits until nothing is being saved; throws what went wrong since the last call of `save` or `flush`. */
  async flush(): Promise<void> {
    await this.underWay;
    this.throwFailure();
  }

  /**
   * Leaves all checkpoints after `step` behind (rank 0; the others do nothing): for a rollback, before training goes on
   * from `step`. They stay as `.abandoned` until the run is well beyond them.
   */
  async abandonAfter(step: number): Promise<void> {
    await this.flush();
    const { dir, attempt, rank } = this.options;
    if (rank === 0) abandonAfter(dir, attempt, step);
  }

  /**
   * Ends the thread after a save under way, or after so many seconds even if that is not through (then it is as if it had
   * been killed). Throws nothing, to be safe in a `finally`: ask `flush` for errors.
   */
  async close(patienceSeconds = Number.POSITIVE_INFINITY): Promise<void> {
    this.closed = true;
    if (patienceSeconds === Number.POSITIVE_INFINITY) await this.underWay;
    else {
      let timer: NodeJS.Timeout | undefined;
      const tired = new Promise<void>((resolve) => {
        timer = setTimeout(resolve, patienceSeconds * 1000);
      });
      await Promise.race([this.underWay, tired]);
      clearTimeout(timer);
    }
    const { thread } = this;
    this.thread = undefined;
    await thread?.terminate();
    this.settle();
  }

  private start(): void {
    const { dir, parameters, optimizer, rank, world, attempt, retention, patienceSeconds = 600 } = this.options;
    const facts: WriterFacts = {
      dir,
      runDir: dirname(dirname(attempt.dir)),
      attempt: attempt.number,
      token: attempt.token,
      rank,
      ranks: world,
      retention,
      patienceMs: patienceSeconds * 1000,
      size: parameters.size,
      from: optimizer.from,
      to: optimizer.to,
    };
    const thread = startThread(import.meta.url, './checkpoint-writer-thread', facts);
    this.thread = thread;
    const died = (error: Error): void => {
      if (this.thread !== thread) return;
      this.thread = undefined;
      this.buffers = undefined;
      this.failure ??= error;
      this.settle();
    };
    thread.on('error', died);
    thread.on('exit', (code) => died(new Error(`checkpoint: the writer's thread ended with ${code}`)));
    thread.on('message', (answer: WriterAnswer) => {
      this.buffers = answer.buffers;
      if (answer.error) this.failure ??= asError(answer.error);
      else this.whenDone(answer);
      this.settle();
    });
    this.ask({ buffers: this.sources.map(({ byteLength }) => new ArrayBuffer(byteLength)) }, () => {});
  }

  /** The files of this rank, in the order of the buffers. */
  private files(): RequestedFile[] {
    const { parameters, optimizer, rank, world } = this.options;
    const { from, to, step, state } = optimizer;
    const metadata = { from: String(from), to: String(to), of: String(parameters.size), step: String(step) };
    const moments = [...state.keys()].map((name) => ({ name, shape: [to - from] }));
    const head = safetensorsHead(moments, 'F32', metadata);
    const ownRange = { path: optimizerName(rank, world), head, buffers: moments.length };
    if (rank > 0) return [ownRange];
    const weights = safetensorsHead(parameters.slices, 'F32', { format: 'pt' });
    return [{ path: weightsName, head: weights, buffers: 1 }, ownRange];
  }

  /** Sends the buffers to the thread; `underWay` resolves when they are back, or when the thread has died. */
  private ask(request: WriterRequest, whenDone: (answer: WriterAnswer) => void): void {
    const thread = this.thread as Worker;
    this.buffers = undefined;
    this.whenDone = whenDone;
    this.underWay = new Promise((resolve) => {
      this.settle = () => {
        // A thread that idles must not keep the process; one that saves must.
        thread.unref();
        resolve();
      };
    });
    thread.ref();
    thread.postMessage(request, [...request.buffers]);
  }

  private throwFailure(): void {
    const { failure } = this;
    this.failure = undefined;
    if (failure) throw failure;
  }
}

function asError({ message, stack, isUserError }: NonNullable<WriterAnswer['error']>): Error {
  if (isUserError) return new UserError(message);
  const error = new Error(message);
  error.stack = stack;
  return error;
}
