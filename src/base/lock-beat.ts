// The thread that touches a lock as long as its process lives, whatever the main thread is busy with.
//
// Does not: take or release the lock; lock.ts does.
import { parentPort, workerData } from 'node:worker_threads';
import { type Beat, touch } from './lock.ts';

const beat = workerData as Beat;
const timer = setInterval(() => {
  const other = touch(beat);
  if (!other) return;
  clearInterval(timer);
  parentPort?.postMessage(other);
}, beat.seconds * 1000);
