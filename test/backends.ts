// Every backend this machine can run, for tests that must pass on all of them.
//
// What cannot run here is named with its reason on standard error: no test disappears silently.
import type { Backend } from '../src/tensor/backend.ts';
import { jsBackend } from '../src/tensor/backend-js.ts';
import { nativeBackend, nativeStatus } from '../src/tensor/backend-native.ts';

export interface NamedBackend {
  /** `js`, or `cpu/<target>`. */
  readonly name: string;
  readonly backend: () => Backend;
}

export function availableBackends(): NamedBackend[] {
  const backends: NamedBackend[] = [{ name: 'js', backend: jsBackend }];
  const status = nativeStatus();
  if (status.why !== null) process.stderr.write(`not run here: native backends: ${status.why}\n`);
  for (const { name, available, why } of status.targets) {
    if (available) backends.push({ name: `cpu/${name}`, backend: () => nativeBackend({ target: name }) });
    else process.stderr.write(`not run here: cpu/${name}: ${why}\n`);
  }
  return backends;
}
