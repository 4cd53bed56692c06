// The engine a verb computes on: the backend of this machine and the precision a recipe asks for.
//
// Does not: choose the backend; tensor/backend-select.ts does.
import type { Log } from '../base/progress.ts';
import { selectedBackend } from '../tensor/backend-select.ts';
import type { Backend, Compute } from '../tensor/backend.ts';
import { Engine } from '../tensor/tensor.ts';

let said = false;

/** The precision a recipe asks for: `auto` is bfloat16 where the processor multiplies it natively, else float32. */
export function computeOn(backend: Backend, wanted: 'auto' | Compute): Compute {
  if (wanted !== 'auto') return wanted;
  return backend.target === 'avx512bf16' ? 'bfloat16' : 'float32';
}

/** The engine of this machine, which is named once per process. */
export function makeEngine(compute: 'auto' | Compute, log: Log): Engine {
  const { backend, reason } = selectedBackend();
  const resolved = computeOn(backend, compute);
  if (!said) log.line(`engine: ${reason}, ${resolved}`);
  said = true;
  return new Engine(backend, resolved);
}
