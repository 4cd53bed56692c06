// ONNX Runtime as the user has installed it: onnxruntime-node (fast) or onnxruntime-web (WebAssembly), whose programs share
// one interface.
//
// Neither is a dependency of belay: the first is 290 MB and its install script fetches CUDA libraries. They are looked for
// beside the user's files first, then beside belay.
//
// Does not: install anything.
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { UserError } from '../../base/errors.ts';

/** The part of onnxruntime-common that is used here. */
export interface OnnxTensor {
  readonly type: string;
  readonly dims: readonly number[];
  readonly data: unknown;
}

export interface OnnxSession {
  readonly inputNames: readonly string[];
  readonly outputNames: readonly string[];
  run(inputs: Readonly<Record<string, OnnxTensor>>, options: object): Promise<Readonly<Record<string, OnnxTensor>>>;
}

interface OnnxModule {
  readonly InferenceSession: { create(path: string, options: object): Promise<OnnxSession> };
  readonly Tensor: new (type: 'int64', data: BigInt64Array, dims: readonly number[]) => OnnxTensor;
  readonly env: { readonly wasm: { numThreads?: number } };
}

export interface OnnxRuntime {
  /** The package it comes from. */
  readonly name: string;
  create(path: string, threads: number): Promise<OnnxSession>;
  int64(values: BigInt64Array, shape: readonly number[]): OnnxTensor;
}

const packages = ['onnxruntime-node', 'onnxruntime-web'];

/** The runtime; a UserError that says how to get one where there is none. `from`: files beside which packages are looked for. */
export function findOnnxRuntime(
  from: readonly string[] = [join(process.cwd(), 'package.json'), import.meta.url],
): OnnxRuntime {
  for (const name of packages) {
    for (const place of from) {
      const require = createRequire(place);
      let path: string;
      try {
        path = require.resolve(name);
      } catch {
        continue;
      }
      try {
        return runtimeOf(name, require(path) as OnnxModule);
      } catch (cause) {
        throw new UserError(`${name} is installed and does not load`, {
          found: cause instanceof Error ? (cause.message.split('\n')[0] as string) : String(cause),
          next: `install it again: npm install --ignore-scripts ${name}`,
          cause,
        });
      }
    }
  }
  throw new UserError('this embedder is an ONNX model, and ONNX Runtime is not installed', {
    expected: packages.join(' or '),
    next: `npm install --ignore-scripts ${packages[0]} (without the flag its script fetches CUDA libraries), or use a fastText model as embedder`,
  });
}

function runtimeOf(name: string, { InferenceSession, Tensor, env }: OnnxModule): OnnxRuntime {
  return {
    name,
    create(path, threads) {
      // Threads of WebAssembly would be threads of threads.
      env.wasm.numThreads = 1;
      return InferenceSession.create(path, {
        intraOpNumThreads: threads,
        interOpNumThreads: 1,
        executionMode: 'sequential',
        graphOptimizationLevel: 'all',
        logSeverityLevel: 4,
      });
    },
    int64: (values, shape) => new Tensor('int64', values, shape),
  };
}
