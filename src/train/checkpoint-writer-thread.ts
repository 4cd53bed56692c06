// The thread of checkpoint-writer.ts: takes copies of weights and moments, saves them, gives the memory back.
//
// Does not: see the model; what it writes was copied before it was asked.
import { parentPort, workerData } from 'node:worker_threads';
import { UserError } from '../base/errors.ts';
import { Attempt } from './attempt.ts';
import { saveCheckpointFiles } from './checkpoint-commit.ts';
import type { NewCheckpointState, Retention } from './checkpoint-state.ts';

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
  readonly size: number;
  readonly from: number;
  readonly to: number;
}

/** A file to write: the head, then the next so many of the buffers. */
export interface RequestedFile {
  readonly path: string;
  readonly head: Uint8Array;
  readonly buffers: number;
}

/** A save, or (without one) memory to touch for the first time, so that the first copy does not have to. */
export interface WriterRequest {
  readonly save?: {
    readonly number: number;
    readonly state: NewCheckpointState;
    readonly files: readonly RequestedFile[];
  };
  readonly buffers: readonly ArrayBuffer[];
}

export interface WriterAnswer {
  readonly buffers: readonly ArrayBuffer[];
  /** Folder of what was committed (rank 0). */
  readonly folder?: string;
  /** What the thread took for it: the loop may hear of it a step later. */
  readonly seconds?: number;
  readonly error?: { readonly message: string; readonly stack: string; readonly isUserError: boolean };
}

const pageBytes = 4096;

function answer(facts: WriterFacts, { save, buffers }: WriterRequest): WriterAnswer {
  const bytes = buffers.map((buffer) => new Uint8Array(buffer));
  if (!save) {
    for (const each of bytes) {
      for (let at = 0; at < each.length; at += pageBytes) each[at] = 1;
    }
    return { buffers };
  }
  const started = performance.now();
  const { runDir, attempt: number, token, ...rest } = facts;
  const attempt = Attempt.join(runDir, number, token);
  const files = save.files.map((file) => ({
    path: file.path,
    pieces: [file.head, ...bytes.splice(0, file.buffers)],
  }));
  try {
    const folder = saveCheckpointFiles({ ...rest, attempt, save: save.number, state: save.state, files });
    const seconds = (performance.now() - started) / 1000;
    return { buffers, seconds, ...(folder === undefined ? {} : { folder }) };
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
