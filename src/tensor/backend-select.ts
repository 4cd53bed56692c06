// Which backend runs when nobody asked for one: native kernels where they load, else TypeScript, with the reason.
//
// BELAY_BACKEND=js or =cpu forces one; a forced cpu that cannot load is an error, never a silent slow run.
//
// Does not: print the reason; commands do, once.

import { UserError } from '../base/errors.ts';
import type { Backend } from './backend.ts';
import { jsBackend } from './backend-js.ts';
import { nativeBackend, nativeStatus } from './backend-native.ts';

export interface SelectedBackend {
  readonly backend: Backend;
  /** One sentence for people: what runs and why. */
  readonly reason: string;
}

let selected: SelectedBackend | undefined;

/** The backend of this process (made once), with the reason for it. */
export function selectedBackend(): SelectedBackend {
  selected ??= select(process.env['BELAY_BACKEND'] ?? '');
  return selected;
}

export function defaultBackend(): Backend {
  return selectedBackend().backend;
}

function select(wanted: string): SelectedBackend {
  if (wanted === 'js') return { backend: jsBackend(), reason: 'js (slow), because BELAY_BACKEND=js' };
  if (wanted !== '' && wanted !== 'cpu') {
    throw new UserError('BELAY_BACKEND names no backend', { found: wanted, expected: 'js or cpu' });
  }
  const { why } = nativeStatus();
  if (why !== null) {
    if (wanted === '') return { backend: jsBackend(), reason: `js (slow), because ${why}` };
    const next = 'npm run build:native, or unset BELAY_BACKEND to run the slow TypeScript backend';
    throw new UserError('BELAY_BACKEND=cpu, but the native kernels do not load', { found: why, next });
  }
  // A target forced by BELAY_TARGET that this processor lacks is the user's to correct: no quiet step down.
  const backend = nativeBackend();
  return {
    backend,
    // Asked for when it is said: ranks of one machine share its threads after the backend was chosen.
    get reason() {
      return `cpu/${backend.target} on ${backend.threads} thread${backend.threads === 1 ? '' : 's'}`;
    },
  };
}
