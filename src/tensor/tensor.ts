// Tensors and the engine that owns them: float32 arrays with a shape, a lifetime and, while a tape runs, a gradient.
//
// Lifetimes: `engine.scope(f)` frees everything f made except what it returns. Parameters live outside any scope.
// During `backward` the tape gives back each activation and gradient as soon as nothing needs it any more, so the
// same memory serves layer after layer. A tensor that was freed answers every use with an error that names the op.
//
// Does not: compute; ops.ts does, through a backend.
import type { Backend, Compute } from './backend.ts';
import { type Block, Memory } from './memory.ts';

export type Shape = readonly number[];

export class Tensor {
  readonly engine: Engine;
  readonly shape: Shape;
  readonly size: number;
  /** Gradient of the value `backward` started from; undefined until it arrives. */
  grad: Tensor | undefined;
  /** True for parameters and for what was computed from them while a tape ran. */
  requiresGrad = false;
  /** Position on the tape of the op that made it; -1 for leaves. */
  born = -1;
  private block: Block | undefined;
  private array: Float32Array | undefined;
  private owners = 1;

  constructor(engine: Engine, shape: Shape, block: Block | undefined, array: Float32Array) {
    this.engine = engine;
    this.shape = shape;
    this.size = array.length;
    this.block = block;
    this.array = array;
  }

  /** The numbers, row-major; an error once the tensor was freed. */
  get data(): Float32Array {
    return this.use('data');
  }

  get isFreed(): boolean {
    return this.array === undefined;
  }

  /** The numbers, for the op of this name. */
  use(op: string): Float32Array {
    if (!this.array) throw new Error(`${op}: got a freed tensor [${this.shape.join(', ')}], expected a live one`);
    return this.array;
  }

  /** One more owner: the memory is given back when each has called `free`. */
  share(): this {
    this.owners++;
    return this;
  }

  /** True while more than one owner may read it: it must not be written into. */
  get isShared(): boolean {
    return this.owners > 1;
  }

  /** Gives the memory back (views of other memory just end). Freeing twice does nothing. */
  free(): void {
    if (this.array && --this.owners === 0) this.end();
  }

  /** Gives the memory back whoever else owns it: the end of a scope. */
  end(): void {
    if (!this.array) return;
    this.array = undefined;
    if (this.block) this.engine.memory.give(this.block);
    this.block = undefined;
  }

  /** The only number of a tensor with one element. */
  item(): number {
    if (this.size !== 1) throw new Error(`item: got a tensor [${this.shape.join(', ')}], expected one element`);
    return this.use('item')[0] as number;
  }
}

/** One op on the tape: what it made and how gradients flow back through it. */
interface TapeEntry {
  readonly outputs: readonly Tensor[];
  /** Other tensors kept for `backward` and given back after it. */
  readonly saved: readonly Tensor[];
  readonly backward: () => void;
}

/** What a scope may hand out. */
type Kept = Tensor | readonly Tensor[] | undefined | null | number;

/** A backend with its memory, a precision for matrix products and, while recording, a tape. */
export class Engine {
  readonly backend: Backend;
  /** How operands of matrix products are rounded. */
  compute: Compute;
  readonly memory: Memory;
  private tape: TapeEntry[] | undefined;
  private scopes: Tensor[][] = [];

  constructor(backend: Backend, compute: Compute = 'float32') {
    this.backend = backend;
    this.compute = compute;
    this.memory = new Memory(backend);
  }

  /** A tensor with undefined content. */
  empty(...shape: number[]): Tensor {
    let size = 1;
    for (const length of shape) {
      if (!Number.isSafeInteger(length) || length < 0) {
        throw new Error(`tensor: got shape [${shape.join(', ')}], expected whole numbers >= 0`);
      }
      size *= length;
    }
    const block = this.memory.take(size * 4);
    const tensor = new Tensor(this, shape, block, new Float32Array(block.buffer, 0, size));
    this.scopes.at(-1)?.push(tensor);
    return tensor;
  }

  zeros(...shape: number[]): Tensor {
    const tensor = this.empty(...shape);
    this.backend.fill(tensor.size, 0, tensor.data);
    return tensor;
  }

  /** A copy of an array as a tensor. */
  from(values: ArrayLike<number>, ...shape: number[]): Tensor {
    const tensor = this.empty(...shape);
    if (values.length !== tensor.size) {
      throw new Error(`tensor: got ${values.length} values, expected ${tensor.size} for shape [${shape.join(', ')}]`);
    }
    tensor.data.set(values);
    return tensor;
  }

  /** A tensor over memory that somebody else owns. */
  view(array: Float32Array, ...shape: number[]): Tensor {
    const size = shape.reduce((product, length) => product * length, 1);
    if (array.length !== size) {
      throw new Error(`tensor: got a view of ${array.length} values, expected ${size} for shape [${shape.join(', ')}]`);
    }
    return new Tensor(this, shape, undefined, array);
  }

  /** Makes a tensor a parameter: it gets a gradient buffer (zero) that outlives scopes. */
  parameter(tensor: Tensor, gradient: Tensor = this.view(new Float32Array(tensor.size), ...tensor.shape)): Tensor {
    tensor.requiresGrad = true;
    tensor.grad = gradient;
    return tensor;
  }

  /** Runs f and frees every tensor it made except the ones it returns. */
  scope<T extends Kept>(f: () => T): T;
  scope(f: () => void): void;
  scope<T extends Kept>(f: () => T): T {
    const made: Tensor[] = [];
    this.scopes.push(made);
    let result: T;
    try {
      result = f();
    } catch (error) {
      this.scopes.pop();
      for (const tensor of made) tensor.end();
      throw error;
    }
    this.scopes.pop();
    const kept = new Set<unknown>(Array.isArray(result) ? result : [result]);
    for (const tensor of made) {
      if (!kept.has(tensor)) tensor.end();
      else this.scopes.at(-1)?.push(tensor);
    }
    return result;
  }

  /** True while ops are being recorded. */
  get isRecording(): boolean {
    return this.tape !== undefined;
  }

  /** Called by ops: notes how gradients flow from `outputs` back to what they were made from. */
  record(outputs: readonly Tensor[], saved: readonly Tensor[], backward: () => void): void {
    if (!this.tape) return;
    for (const output of outputs) {
      output.requiresGrad = true;
      output.born = this.tape.length;
    }
    this.tape.push({ outputs, saved, backward });
  }

  /** Calls `passed` when the backward pass has gone through everything recorded after this point. */
  mark(passed: () => void): void {
    this.tape?.push({ outputs: [], saved: [], backward: passed });
  }

  /**
   * Runs `forward` while recording, then adds the gradient of its scalar result to `grad` of every parameter it used,
   * and returns the value. All tensors made on the way are freed.
   */
  gradients(forward: () => Tensor): number {
    if (this.tape) throw new Error('gradients: a tape is already running');
    let value = 0;
    this.scope(() => {
      const tape: TapeEntry[] = [];
      this.tape = tape;
      let result: Tensor;
      try {
        result = forward();
      } finally {
        this.tape = undefined;
      }
      value = result.item();
      if (!result.requiresGrad) throw new Error('gradients: the result does not depend on any parameter');
      result.grad = this.from([1], ...result.shape);
      for (let i = tape.length - 1; i >= 0; i--) {
        const { outputs, saved, backward } = tape[i] as TapeEntry;
        if (outputs.length === 0 || outputs.some((output) => output.grad)) backward();
        for (const output of outputs) {
          output.grad?.free();
          output.grad = undefined;
          output.free();
        }
        for (const tensor of saved) tensor.free();
      }
    });
    return value;
  }
}

/**
 * Hands the gradient `g` (owned by the caller) to `target`: parameters add it to their own buffer, activations take it
 * over or add it to what another consumer left.
 */
export function giveGradient(target: Tensor, g: Tensor): void {
  if (!target.requiresGrad) {
    g.free();
    return;
  }
  if (!target.grad) {
    target.grad = g;
    return;
  }
  const { engine } = target;
  const into = writable(target.grad);
  engine.backend.add(g.size, into.data, g.data, into.data);
  target.grad = into;
  g.free();
}

/** The gradient itself if nobody else reads it, else a copy (giving up our share of it). */
export function writable(gradient: Tensor): Tensor {
  if (!gradient.isShared) return gradient;
  const copy = gradient.engine.empty(...gradient.shape);
  copy.data.set(gradient.data);
  gradient.free();
  return copy;
}
