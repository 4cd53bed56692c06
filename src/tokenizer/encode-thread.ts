// What runs in a thread of encodeTexts: owns a tokenizer and answers batches of texts in the order they come.
//
// Does not: know what the texts are.
import { parentPort, workerData } from 'node:worker_threads';
import { sentError } from '../base/sent-error.ts';
import { Tokenizer } from './bpe.ts';
import { type EncodeAnswer, encodeBatch, type EncodeThreadData } from './encode-texts.ts';

if (!parentPort) throw new Error('encode-thread: to be run as a worker thread');
const port = parentPort;
const { tokenizer: path, options } = workerData as EncodeThreadData;
let tokenizer: Tokenizer | undefined;

port.on('message', (texts: readonly string[]) => {
  try {
    tokenizer ??= Tokenizer.load(path);
    const { ids, ends } = encodeBatch(tokenizer, texts, options);
    port.postMessage({ ids, ends } satisfies EncodeAnswer, [ids.buffer, ends.buffer]);
  } catch (error) {
    port.postMessage({ failed: sentError(error) } satisfies EncodeAnswer);
  }
});
