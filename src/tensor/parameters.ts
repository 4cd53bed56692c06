// All parameters of a model side by side in one buffer, with their gradients in a second one.
//
// One buffer makes clipping, the optimizer, checkpoints and (later) all-reduce single passes over memory, and lets q,
// k and v projections that are three tensors on disk be one matrix product here: a parameter may span several names.
//
// Does not: know what the parameters mean.
import type { Engine, Shape, Tensor } from './tensor.ts';

export interface ParameterSpec {
  readonly name: string;
  readonly shape: Shape;
}

/** Where a named parameter lies in the flat buffers, in elements. */
export interface ParameterSlice extends ParameterSpec {
  readonly offset: number;
  readonly size: number;
}

export class ParameterSet {
  readonly engine: Engine;
  readonly slices: readonly ParameterSlice[];
  /** Elements of all parameters together (slices follow each other without gaps). */
  readonly size: number;
  readonly values: Float32Array;
  readonly gradients: Float32Array;
  private readonly byName: ReadonlyMap<string, ParameterSlice>;
  private readonly tensors = new Map<string, Tensor>();

  constructor(engine: Engine, specs: readonly ParameterSpec[], options: { readonly gradients?: boolean } = {}) {
    this.engine = engine;
    let offset = 0;
    this.slices = specs.map(({ name, shape }) => {
      const size = shape.reduce((product, length) => product * length, 1);
      const slice = { name, shape, offset, size };
      offset += size;
      return slice;
    });
    this.size = offset;
    this.byName = new Map(this.slices.map((slice) => [slice.name, slice]));
    if (this.byName.size !== this.slices.length) throw new Error('parameters: two have the same name');
    this.values = new Float32Array(engine.backend.allocate(offset * 4), 0, offset);
    const trains = options.gradients ?? true;
    this.gradients = trains ? new Float32Array(engine.backend.allocate(offset * 4), 0, offset) : new Float32Array(0);
  }

  slice(name: string): ParameterSlice {
    const slice = this.byName.get(name);
    if (!slice) throw new Error(`parameters: got the name ${name}, expected one of ${this.slices.length} known ones`);
    return slice;
  }

  /** The tensor over one parameter, or over several that lie side by side (rows of one matrix). */
  tensor(...names: readonly [string, ...string[]]): Tensor {
    const key = names.join('+');
    const known = this.tensors.get(key);
    if (known) return known;
    const slices = names.map((name) => this.slice(name));
    const first = slices[0] as ParameterSlice;
    let end = first.offset;
    let rows = 0;
    for (const slice of slices) {
      if (slice.offset !== end) throw new Error(`parameters: ${key} do not lie side by side`);
      end += slice.size;
      rows += slice.shape[0] ?? 1;
    }
    const shape = slices.length === 1 ? first.shape : [rows, ...first.shape.slice(1)];
    const tensor = this.engine.view(this.values.subarray(first.offset, end), ...shape);
    if (this.gradients.length > 0) {
      this.engine.parameter(tensor, this.engine.view(this.gradients.subarray(first.offset, end), ...shape));
    }
    this.tensors.set(key, tensor);
    return tensor;
  }

  /** The numbers of one parameter. */
  valuesOf(name: string): Float32Array {
    const { offset, size } = this.slice(name);
    return this.values.subarray(offset, offset + size);
  }

  /** The gradient of one parameter. */
  gradientOf(name: string): Float32Array {
    const { offset, size } = this.slice(name);
    return this.gradients.subarray(offset, offset + size);
  }

  zeroGradients(): void {
    this.engine.backend.fill(this.gradients.length, 0, this.gradients);
  }
}
