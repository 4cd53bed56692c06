// Loaded into every process of a campaign by NODE_OPTIONS: breaks the rank $FAULT_RANK when it has computed the step
// $FAULT_STEP, in the way $FAULT says, as often as it comes there (or once, where $FAULT_ONCE names a file).
//
// Does not: anything where $FAULT is not set.
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';

const { FAULT, FAULT_STEP, FAULT_ONCE } = process.env;
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
};

if (FAULT) {
  fs.writeSync = (file, data, ...rest) => {
    if (isTime(data)) faults[FAULT]();
    return write(file, data, ...rest);
  };
  syncBuiltinESMExports();
}
