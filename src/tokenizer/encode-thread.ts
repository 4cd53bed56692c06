// What runs in a thread of encodeTexts: answers batches of texts in the order they come, with the tables of the thread that
// started it, or with a tokenizer of its own where these cannot be shared.
//
// Does not: know what the texts are.
import { parentPort, workerData } from 'node:worker_threads';
import { sentError } from '../base/sent-error.ts';
import { nativeKernels, Tokenizer } from './bpe.ts';
import { type BatchEncoder, type EncodeAnswer, encodeBatch, type EncodeThreadData } from './encode-texts.ts';
import { Encoding } from './encoding.ts';

if (!parentPort) throw new Error('encode-thread: to be run as a worker thread');
const port = parentPort;
const { tokenizer: path, shared, options } = workerData as EncodeThreadData;
const kernels = nativeKernels();
let tokenizer: BatchEncoder | undefined = shared && kernels ? Encoding.on(shared, kernels) : undefined;
port.postMessage('ready' satisfies EncodeAnswer);

port.on('message', (texts: readonly string[]) => {
  try {
    tokenizer ??= Tokenizer.load(path);
    const { ids, ends } = encodeBatch(tokenizer, texts, options);
    port.postMessage({ ids, ends } satisfies EncodeAnswer, [ids.buffer, ends.buffer]);
  } catch (error) {
    port.postMessage({ failed: sentError(error) } satisfies EncodeAnswer);
  }
});
