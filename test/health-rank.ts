// A rank of test/health.test.ts: computes its share of a step, then waits for the others, as training does; its heart
// beats. It is told by its parent when all are done, and may be told to get stuck.
//
// Does not: train.
import { execFileSync } from 'node:child_process';
import { Heart } from '../src/cluster/health/heartbeat.ts';
import { pulsePlaces } from '../src/train/pulse.ts';

const [dir = '', rank = '', world = ''] = process.argv.slice(2);
const heart = new Heart({ dir, rank: Number(rank), world: Number(world), places: pulsePlaces, seconds: 0.1 });
let step = 0;
const never = new Int32Array(new SharedArrayBuffer(4));

/** Twenty milliseconds, in naps: they are longer for a process that is stopped now and then, however busy the machine is. */
function compute(): void {
  for (let nap = 0; nap < 10; nap++) Atomics.wait(never, 0, 0, 2);
}

/** Never returns. */
function stuckInALoop(): void {
  for (let turns = 0; turns >= 0; turns = (turns + 1) % 1000) step += 0;
}

/** Not in JavaScript, either. */
function stuckInACall(): void {
  execFileSync('sleep', ['1000']);
}

function takeStep(): void {
  const started = performance.now();
  heart.at('gradients');
  compute();
  const busy = (performance.now() - started) / 1000;
  heart.at('exchange');
  process.send?.({ done: step, busy });
}

process.on('message', (word: string) => {
  if (word === 'go') {
    if (step > 0) heart.took(step, 0.02, lastBusy, 1);
    step++;
    const started = performance.now();
    takeStep();
    lastBusy = (performance.now() - started) / 1000;
  }
  if (word === 'loop') {
    heart.at('gradients');
    stuckInALoop();
  }
  if (word === 'call') {
    heart.at('update');
    stuckInACall();
  }
  if (word === 'end') {
    heart.at('ended');
    void heart.end().then(() => process.disconnect());
  }
});
let lastBusy = 0;
heart.began(1, 0);
process.send?.({ ready: true });
