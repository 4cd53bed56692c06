// The thread of checkpoint-writer.ts: takes copies of weights and moments, saves them, gives the memory back.
//
// Does not: see the model; what it writes was copied before it was asked.
import { parentPort, workerData } from 'node:worker_threads';
import { UserError } from '../base/errors.ts';
import { safetensorsHead } from '../tensor/safetensors.ts';
import { Attempt } from './attempt.ts';
import { type NewFile, saveCheckpointFiles } from './checkpoint-commit.ts';
import { type NewCheckpointState, optimizerName, type Retention, weightsName } from './checkpoint-state.ts';

/** What stays the same from save to save. */
export interface WriterFacts {
  readonly dir: string;
  readonly runDir: string;
  readonly attempt: number;
  readonly token: string;
  readonly rank: number;
  readonly ranks: number;
  readonly retention: Retention;
  readonly patienceMs: number;
  /** All parameters in the order of the flat buffer. */
  readonly parameters: readonly { readonly name: string; readonly shape: readonly number[] }[];
  readonly size: number;
  readonly from: number;
  readonly to: number;
  readonly moments: readonly string[];
}

/** A save, or (without one) memory to touch for the first time, so that the first copy does not have to. */
export interface WriterRequest {
  readonly save?: { readonly number: number; readonly state: NewCheckpointState; readonly optimizerStep: number };
  /** The weights (rank 0), then each moment. */
  readonly buffers: readonly ArrayBuffer[];
}

export interface WriterAnswer {
  readonly buffers: readonly ArrayBuffer[];
  /** Folder of what was committed (rank 0). */
  readonly folder?: string;
  readonly error?: { readonly message: string; readonly stack: string; readonly isUserError: boolean };
}

const pageBytes = 4096;

function answer(facts: WriterFacts, { save, buffers }: WriterRequest): WriterAnswer {
  if (!save) {
    for (const buffer of buffers) {
      const bytes = new Uint8Array(buffer);
      for (let at = 0; at < bytes.length; at += pageBytes) bytes[at] = 1;
    }
    return { buffers };
  }
  const { runDir, rank, ranks, parameters, size, from, to } = facts;
  try {
    const bytes = buffers.map((buffer) => new Uint8Array(buffer));
    const files: NewFile[] = [];
    if (rank === 0) {
      const head = safetensorsHead(parameters, 'F32', { format: 'pt' });
      files.push({ path: weightsName, pieces: [head, bytes.shift() as Uint8Array] });
    }
    const metadata = { from: String(from), to: String(to), of: String(size), step: String(save.optimizerStep) };
    const moments = facts.moments.map((name) => ({ name, shape: [to - from] }));
    const head = safetensorsHead(moments, 'F32', metadata);
    files.push({ path: optimizerName(rank, ranks), pieces: [head, ...bytes] });
    const attempt = Attempt.join(runDir, facts.attempt, facts.token);
    const { dir, retention, patienceMs } = facts;
    const { number, state } = save;
    const job = { dir, attempt, rank, ranks, retention, patienceMs, save: number, state, files, from, to, size };
    const folder = saveCheckpointFiles(job);
    return { buffers, ...(folder === undefined ? {} : { folder }) };
  } catch (cause) {
    const error = cause instanceof Error ? cause : new Error(String(cause));
    const { message, stack = message } = error;
    return { buffers, error: { message, stack, isUserError: error instanceof UserError } };
  }
}

parentPort?.on('message', (request: WriterRequest) => {
  const reply = answer(workerData as WriterFacts, request);
  parentPort?.postMessage(reply, [...reply.buffers]);
});
