// Training in native code (native/tokenizer/).
//
// Does not: choose between it and TypeScript; train.ts does.
import { UserError } from '../base/errors.ts';
import { errorText } from '../base/json.ts';
import type { NativeModule } from '../base/native.ts';
import { characterClasses } from './pre-tokenizer.ts';
import type { MergeLearner, Training } from './train-merges.ts';
import type { CountedWords } from './train-words.ts';

export class NativeTraining implements Training {
  private readonly native: NativeModule;
  private readonly id: number;

  constructor(
    native: NativeModule,
    threads: number,
    memoryBytes: number,
    temporaryDir: string,
    whole: readonly string[],
  ) {
    this.native = native;
    const strings = whole.map((string) => `${string}\0`).join('');
    this.id = native.bpeOpen(threads, memoryBytes, temporaryDir, strings, characterClasses());
  }

  add(text: string, group: number): void {
    this.native.bpeAdd(this.id, text, group);
  }

  counted(): CountedWords {
    try {
      const { words: met, leftOut, least } = this.native.bpeCounted(this.id);
      return { met, leftOut, least };
    } catch (cause) {
      throw new UserError(errorText(cause), { next: 'make room there, or set TMPDIR to a folder with room', cause });
    }
  }

  learner(idOfByte: Int32Array, firstFree: number, units: Float64Array): MergeLearner {
    return (most) => {
      const out = new Int32Array(3 * most);
      return out.subarray(0, 3 * this.native.bpeLearn(this.id, idOfByte, firstFree, units, out));
    };
  }

  close(): void {
    this.native.bpeClose(this.id);
  }
}
