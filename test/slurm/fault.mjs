// Loaded into every process of a campaign by NODE_OPTIONS: breaks the rank $FAULT_RANK when it has computed the step
// $FAULT_STEP, in the way $FAULT says, as often as it comes there (or once, where $FAULT_ONCE names a file).
//
// With SLOW_MS every step of every rank 0 takes so much longer, so that there is time to disturb it; where SLOW_UNTIL names a
// file, until it is there.
//
// Does not: anything where neither is set.
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';

const { FAULT, FAULT_STEP, FAULT_ONCE, SLOW_MS, SLOW_UNTIL } = process.env;
let slow = Number(SLOW_MS);
const sleeper = new Int32Array(new SharedArrayBuffer(4));
const write = fs.writeSync;

function isTime(data) {
  if (!String(data).startsWith(`{"step":${FAULT_STEP},`)) return false;
  if (!FAULT_ONCE) return true;
  if (fs.existsSync(FAULT_ONCE)) return false;
  fs.writeFileSync(FAULT_ONCE, '');
  return true;
}

const faults = {
  exception() {
    throw new Error('injected: the loss has the wrong shape');
  },
  'disk-full'() {
    throw Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC', syscall: 'write' });
  },
  segfault: () => process.kill(process.pid, 'SIGSEGV'),
  killed: () => process.kill(process.pid, 'SIGKILL'),
  hang() {
    for (;;);
  },
  /** Takes memory until somebody ends it, but not all of a machine that has no limit. */
  memory() {
    for (const taken = []; taken.length < 512; ) taken.push(Buffer.alloc(1 << 22, 1));
    throw new Error('injected: nobody limits the memory');
  },
  /** From here on it heeds no signal, and takes longer for a step than there is between a warning and the end. */
  deaf() {
    slow = 20_000;
    for (const signal of ['SIGUSR2', 'SIGTERM']) {
      process.removeAllListeners(signal);
      process.on(signal, () => undefined);
    }
  },
};

const isSlow = () => SLOW_MS && !(SLOW_UNTIL && fs.existsSync(SLOW_UNTIL));

if (FAULT || SLOW_MS) {
  fs.writeSync = (file, data, ...rest) => {
    if (FAULT && isTime(data)) faults[FAULT]();
    if (isSlow() && String(data).startsWith('{"step":')) Atomics.wait(sleeper, 0, 0, slow);
    return write(file, data, ...rest);
  };
  syncBuiltinESMExports();
}
