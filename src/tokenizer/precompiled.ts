// The normaliser of SentencePiece models in a tokenizer.json (`Precompiled`): a map from strings to strings in a double-array
// trie, as Hugging Face's tokenizers applies it.
//
// That library looks at one grapheme cluster after the other: one of less than six bytes is replaced by the value of its
// shortest prefix in the map, whatever follows that prefix; else its characters are, one by one. Layout and rules: google/sentencepiece
// (normalizer.cc, Darts) and huggingface/spm_precompiled.
//
// Does not: build maps.

/** Clusters of this many bytes and more are looked up character by character. */
const clusterBytes = 6;
/** Runs of clusters up to this length are remembered; the cache is emptied when it holds this many. */
const cachedLength = 16;
const cacheLimit = 1 << 16;
/** What is known of a code unit. */
const unknown = 0;
const alone = 1;
const joins = 2;

export class PrecompiledMap {
  private readonly units: Uint32Array;
  /** UTF-8 texts, each with a zero behind it. */
  private readonly texts: Buffer;
  private readonly segmenter = new Intl.Segmenter('und', { granularity: 'grapheme' });
  /** Whether a code unit is a cluster by itself beside others that are. */
  private readonly kinds = new Uint8Array(65536);
  private readonly single: (string | null | undefined)[] = new Array(65536);
  private readonly runs = new Map<string, string>();
  private readonly key = Buffer.alloc(64);

  /** From the bytes of `precompiled_charsmap`; throws where they are no map. */
  constructor(bytes: Buffer) {
    const length = bytes.length < 4 ? -1 : bytes.readUInt32LE(0);
    if (length < 4 || length % 4 !== 0 || 4 + length > bytes.length)
      throw new Error('the map of characters is cut off');
    this.units = new Uint32Array(length / 4);
    for (let i = 0; i < this.units.length; i++) this.units[i] = bytes.readUInt32LE(4 + i * 4);
    this.texts = bytes.subarray(4 + length);
    // Together they are one cluster.
    this.kinds[10] = joins;
    this.kinds[13] = joins;
  }

  /** The text as the map has it. */
  apply(text: string): string {
    let out = '';
    /** Where what stays as it is begins. */
    let start = 0;
    let i = 0;
    while (i < text.length) {
      if (this.kindAt(text, i) === alone && (i + 1 === text.length || this.kindAt(text, i + 1) === alone)) {
        const to = this.ofUnit(text.charCodeAt(i));
        if (to !== null) {
          out += text.slice(start, i) + to;
          start = i + 1;
        }
        i++;
        continue;
      }
      // Up to two neighbours that stand alone, clusters must be asked for.
      let end = i + 1;
      while (end < text.length && !(this.kindAt(text, end - 1) === alone && this.kindAt(text, end) === alone)) end++;
      out += text.slice(start, i);
      out += this.clusters(text.slice(i, end));
      start = i = end;
    }
    return start === 0 ? text : out + text.slice(start);
  }

  /** What the clusters of a run become; short runs come again and again. */
  private clusters(run: string): string {
    if (run.length > cachedLength) return this.applyClusters(run);
    let out = this.runs.get(run);
    if (out === undefined) {
      out = this.applyClusters(run);
      if (this.runs.size >= cacheLimit) this.runs.clear();
      this.runs.set(run, out);
    }
    return out;
  }

  private applyClusters(text: string): string {
    let out = '';
    for (const { segment } of this.segmenter.segment(text)) {
      const whole = Buffer.byteLength(segment, 'utf8') < clusterBytes ? this.lookUp(segment) : null;
      if (whole !== null) {
        out += whole;
        continue;
      }
      for (const character of segment) out += this.lookUp(character) ?? character;
    }
    return out;
  }

  private kindAt(text: string, at: number): number {
    const unit = text.charCodeAt(at);
    let kind = this.kinds[unit] as number;
    if (kind === unknown) {
      const character = String.fromCharCode(unit);
      const isHalf = unit >= 0xd800 && unit < 0xe000;
      const clusters = (of: string): number => [...this.segmenter.segment(of)].length;
      kind = !isHalf && clusters(`x${character}x`) === 3 && clusters(character + character) === 2 ? alone : joins;
      this.kinds[unit] = kind;
    }
    return kind;
  }

  private ofUnit(unit: number): string | null {
    let to = this.single[unit];
    if (to === undefined) this.single[unit] = to = this.lookUp(String.fromCharCode(unit));
    return to;
  }

  /** The value of the shortest prefix that the map has; null where it has none. */
  private lookUp(text: string): string | null {
    const { units, key } = this;
    const length = key.write(text, 'utf8');
    let at = offsetOf(units[0] as number);
    for (let i = 0; i < length; i++) {
      const byte = key[i] as number;
      if (byte === 0) return null;
      at ^= byte;
      const unit = units[at];
      if (unit === undefined || (unit & 0x800000ff) >>> 0 !== byte) return null;
      at ^= offsetOf(unit);
      if ((unit >>> 8) & 1) {
        const from = (units[at] as number) & 0x7fffffff;
        const end = this.texts.indexOf(0, from);
        return this.texts.toString('utf8', from, end < 0 ? this.texts.length : end);
      }
    }
    return null;
  }
}

function offsetOf(unit: number): number {
  return (unit >>> 10) << ((unit & 0x200) >>> 6);
}
