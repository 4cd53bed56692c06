// The thread that beats for a rank, whatever its main thread is busy with, and says where that is when it is asked.
//
// Does not: measure; heartbeat.ts is told.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { workerData } from 'node:worker_threads';
import {
  answerName,
  type HeartThreadData,
  replaceFile,
  requestName,
  type StackAnswer,
  writeBeat,
} from './heartbeat.ts';
import { mainStack } from './main-stack.ts';
import { threadState } from './process-state.ts';

const data = workerData as HeartThreadData;
const { dir, rank, seconds } = data;
let beats = 0;
/** What was asked before this rank began is not for it. */
let answered = question();

setInterval(() => {
  try {
    const { host, pid, place } = writeBeat(data, ++beats);
    const id = question();
    if (id === undefined || id === answered) return;
    answered = id;
    void answer({ rank, id, host, pid, place });
  } catch {
    // A disk that is full now may not be so later; the silence is seen.
  }
}, seconds * 1000);

function question(): string | undefined {
  try {
    return (JSON.parse(readFileSync(join(dir, requestName), 'utf8')) as { readonly id?: string }).id;
  } catch {
    return undefined;
  }
}

async function answer(known: Pick<StackAnswer, 'rank' | 'id' | 'host' | 'pid' | 'place'>): Promise<void> {
  const thread = threadState(known.pid);
  const stack = await mainStack(1000);
  try {
    replaceFile(join(dir, answerName(rank)), { ...known, ...(stack ? { stack } : {}), ...(thread ? { thread } : {}) });
  } catch {
    // As above.
  }
}
