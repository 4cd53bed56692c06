// A run as Weights & Biases keeps it offline: one `.wandb` file, which `wandb sync FOLDER` uploads.
//
// The file is the seven bytes ":W&B", 0xbee1, 0 and then a log as LevelDB writes it: blocks of 32 KiB, counted from the
// first byte of the file, of pieces {CRC-32 of type and data, length, type (1 whole, 2 first, 3 middle, 4 last)}. The
// checksum is that of zlib and not masked, unlike LevelDB's. Each record is a protobuf message `Record`. Read off files
// that wandb 0.30.0 wrote (test/golden/wandb-0.30.0.wandb) and its wandb_internal.proto.
//
// Does not: upload, or write media, system metrics and console output.
import { closeSync, fsyncSync, mkdirSync, openSync, renameSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { crc32 } from '../base/gzip-members.ts';
import type { Json } from '../base/json.ts';
import { bytes, text, varintField } from '../base/protobuf.ts';
import { version } from '../base/version.ts';

const blockBytes = 1 << 15;
const pieceHeadBytes = 7;
/** The oldest wandb that shall read the file: what wandb 0.30.0 writes itself. */
const minConsumer = '0.70.0';

export interface WandbRun {
  /** Letters and digits; a run that is uploaded again under its id replaces itself. */
  readonly id: string;
  readonly project: string;
  readonly name: string;
  /** Unix seconds. */
  readonly started: number;
  readonly config: Readonly<Record<string, Json>>;
}

/** A step: when it ended, and its numbers. */
export interface WandbRow {
  readonly step: number;
  /** Unix seconds. */
  readonly time: number;
  readonly values: Readonly<Record<string, number>>;
}

/**
 * Writes a run below `dir` and returns its folder, which is named as wandb names it. `exitCode` is left out while the run
 * goes on. Values that are not finite are left out.
 */
export function writeWandbRun(
  dir: string,
  run: WandbRun,
  rows: Iterable<WandbRow>,
  exitCode?: number,
  summary: Readonly<Record<string, number>> = {},
): string {
  const stamp = new Date(run.started * 1000).toISOString().slice(0, 19).replace(/[-:]/g, '').replace('T', '_');
  const folder = join(dir, `offline-run-${stamp}-${run.id}`);
  // Where `wandb sync` puts the summary that it makes of the records.
  mkdirSync(join(folder, 'files'), { recursive: true });
  const path = join(folder, `run-${run.id}.wandb`);
  const log = new WandbLog(`${path}.partial`);
  try {
    log.record(21, bytes(1, Buffer.concat([text(1, `belay ${version}`), text(2, minConsumer)])));
    log.record(17, runRecord(run));
    const last: Record<string, number> = {};
    let runtime = 0;
    for (const { step, time, values } of rows) {
      runtime = Math.max(0, time - run.started);
      const all = { ...values, _timestamp: time, _runtime: runtime, _step: step };
      log.record(2, Buffer.concat([...items(all), bytes(2, varintField(1, step))]));
      Object.assign(last, all);
    }
    log.record(3, Buffer.concat(items({ ...last, ...summary })));
    if (exitCode !== undefined) {
      log.record(18, Buffer.concat([varintField(1, exitCode), varintField(2, Math.round(runtime))]));
    }
  } finally {
    log.close();
  }
  renameSync(`${path}.partial`, path);
  return folder;
}

function runRecord({ id, project, name, started, config }: WandbRun): Buffer {
  const seconds = Math.floor(started);
  const time = [varintField(1, seconds), varintField(2, Math.round((started - seconds) * 1e9))];
  const settings = Object.entries(config).map(([key, value]) =>
    bytes(1, Buffer.concat([text(1, key), text(16, JSON.stringify(value))])),
  );
  return Buffer.concat([
    text(1, id),
    text(3, project),
    bytes(4, Buffer.concat(settings)),
    text(8, name),
    bytes(17, Buffer.concat(time)),
  ]);
}

/** The items of a history or a summary: names are paths of one part, since a dot in them means nothing. */
function items(values: Readonly<Record<string, number>>): Buffer[] {
  return Object.entries(values)
    .filter(([, value]) => Number.isFinite(value))
    .map(([key, value]) => bytes(1, Buffer.concat([text(2, key), text(16, JSON.stringify(value))])));
}

/** Records one after the other in a new file. */
class WandbLog {
  private readonly file: number;
  private at = 0;
  private count = 0;
  private pending: Uint8Array[] = [];
  private pendingBytes = 0;

  constructor(path: string) {
    this.file = openSync(path, 'w');
    this.put(Buffer.from([0x3a, 0x57, 0x26, 0x42, 0xe1, 0xbe, 0]));
  }

  /** A `Record` with this message in this field. */
  record(field: number, message: Uint8Array): void {
    const data = Buffer.concat([varintField(1, ++this.count), bytes(field, message)]);
    for (let from = 0, isFirst = true; isFirst || from < data.length; isFirst = false) {
      let left = blockBytes - (this.at % blockBytes);
      if (left < pieceHeadBytes) {
        this.put(Buffer.alloc(left));
        left = blockBytes;
      }
      const to = Math.min(data.length, from + left - pieceHeadBytes);
      const isLast = to === data.length;
      const piece = Buffer.alloc(pieceHeadBytes + to - from);
      piece[6] = isFirst ? (isLast ? 1 : 2) : isLast ? 4 : 3;
      piece.set(data.subarray(from, to), pieceHeadBytes);
      piece.writeUInt32LE(crc32(piece.subarray(6), 0), 0);
      piece.writeUInt16LE(to - from, 4);
      this.put(piece);
      from = to;
    }
  }

  close(): void {
    this.flush();
    fsyncSync(this.file);
    closeSync(this.file);
  }

  private put(data: Uint8Array): void {
    this.at += data.length;
    this.pending.push(data);
    this.pendingBytes += data.length;
    if (this.pendingBytes > 1 << 20) this.flush();
  }

  private flush(): void {
    const data = Buffer.concat(this.pending);
    for (let at = 0; at < data.length; ) at += writeSync(this.file, data, at);
    this.pending = [];
    this.pendingBytes = 0;
  }
}
