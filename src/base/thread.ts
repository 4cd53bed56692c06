// Starts a module of ours as a worker thread, from sources and from compiled code alike.
//
// A thread of Node 20 does not inherit the loader that lets the main thread import .ts files, so from sources the
// thread registers it before it imports the module.
//
// Does not: know what threads say to each other.
import { Worker } from 'node:worker_threads';

/**
 * The thread of the module `name` (without extension) beside `importer`, an `import.meta.url`. What the module throws
 * while it loads arrives as the worker's `error` event.
 */
export function startThread(importer: string, name: string, workerData: unknown): Worker {
  if (!importer.endsWith('.ts')) {
    // A thread inherits the flags of its program, and one that is a file refuses this one, of `node -e`.
    const isText = process.execArgv.some((flag) => flag.startsWith('--input-type'));
    return new Worker(new URL(`${name}.js`, importer), { workerData, ...(isText ? { execArgv: [] } : {}) });
  }
  const loader = JSON.stringify(import.meta.resolve('tsx/esm/api'));
  const module = JSON.stringify(new URL(`${name}.ts`, importer).href);
  const text = `import { register } from ${loader};\nregister();\nawait import(${module});\n`;
  return new Worker(new URL(`data:text/javascript,${encodeURIComponent(text)}`), { workerData });
}
