// Where a campaign puts what: file systems of the site for images, tokens, checkpoints and caches, whether they will do,
// how folders on Lustre are striped, and where compilers of every rank cache.
//
// Random reads go to flash and long writes to disks, which have the room; caches of just-in-time compilers go to memory, as
// ranks that share them on a file system race and crash. What the profile of the site says is checked against what is there.
//
// Does not: copy, delete or stripe; it says the commands.
import { accessSync, constants, existsSync, statfsSync } from 'node:fs';
import { dirname, join } from 'node:path/posix';
import { UserError } from '../base/errors.ts';
import { type Site, type Storage, type StorageUse, storageFor } from './site.ts';

type Environment = Readonly<Record<string, string | undefined>>;

/** What a campaign keeps for one use. */
export interface StorageNeed {
  readonly use: StorageUse;
  /** All of it, at the worst time. */
  readonly bytes: number;
  readonly files: number;
  /** Whether jobs write there, or only people beforehand. */
  readonly written: boolean;
}

export interface Placement {
  readonly use: StorageUse;
  /** Name of the file system in the profile. */
  readonly name: string;
  readonly path: string;
  readonly storage: Storage;
}

/** The folder for each use: `subfolder` on the first file system that the site means for it. */
export function placeAll(
  site: Site,
  uses: readonly StorageUse[],
  subfolder: string,
  env: Environment = process.env,
): Placement[] {
  return uses.map((use) => {
    const [first] = storageFor(site, use);
    if (!first) {
      throw new UserError(`the site ${site.name} has no file system for ${use}`, {
        expected: `one with "uses": ["${use}"] in its profile`,
      });
    }
    const { name, storage } = first;
    return { use, name, path: join(expandPath(storage.path, env, name), subfolder, use), storage };
  });
}

function expandPath(path: string, env: Environment, name: string): string {
  return path.replace(/\$(\w+)/g, (_, variable: string) => {
    const value = variable === 'PWD' ? (env['PWD'] ?? process.cwd()) : env[variable];
    if (value !== undefined && value !== '') return value;
    throw new UserError(`the path of the file system ${name} names a variable that is not set`, {
      found: path,
      next: `export ${variable}=...`,
    });
  });
}

export interface StorageFinding {
  /** `refused`: the campaign would fail; `warning`: it may lose files or time. */
  readonly kind: 'refused' | 'warning';
  readonly use: StorageUse;
  readonly line: string;
}

/** What is there, of a path; to be replaced in tests. */
export interface DiskLook {
  /** Free bytes and files where this user may write; undefined: not there; null: not writable. */
  readonly free: (path: string) => { readonly bytes: number; readonly files: number } | undefined | null;
}

/** How things are on this machine. A folder that is not made yet counts as the one it will be made in. */
export const thisMachine: DiskLook = {
  free: (path) => {
    let at = path;
    while (!existsSync(at) && at !== dirname(at)) at = dirname(at);
    // Nothing of it is there but the root: the file system is not mounted.
    if (at === '/' && path !== '/') return undefined;
    try {
      accessSync(at, constants.W_OK);
    } catch {
      return null;
    }
    const { bavail, bsize, ffree } = statfsSync(at);
    return { bytes: bavail * bsize, files: ffree };
  },
};

/** Whether what is needed fits where it was placed, for a campaign of so many days. */
export function checkPlacements(
  placements: readonly Placement[],
  needs: readonly StorageNeed[],
  days: number,
  look: DiskLook = thisMachine,
): StorageFinding[] {
  const findings: StorageFinding[] = [];
  for (const { use, name, path, storage } of placements) {
    const need = needs.find((one) => one.use === use);
    const say = (kind: StorageFinding['kind'], line: string): void => void findings.push({ kind, use, line });
    if (!storage.jobsWrite && need?.written) {
      say('refused', `${use} would be written by jobs to ${name} (${path}), where they may not; copy there afterwards`);
      continue;
    }
    const free = look.free(path);
    if (free === undefined) say('refused', `${path} for ${use} is not there: is ${name} mounted?`);
    else if (free === null) say('refused', `${path} for ${use} cannot be written to`);
    // Several uses share a file system, and a quota.
    const together = needs.filter((one) => placements.some((place) => place.use === one.use && place.name === name));
    const bytes = together.reduce((sum, one) => sum + one.bytes, 0);
    const files = together.reduce((sum, one) => sum + one.files, 0);
    const { quotaBytes, quotaFiles, cleanupDays } = storage;
    const fits = (what: string, needed: number, there: number | null | undefined, of: string): void => {
      if (need && there !== null && there !== undefined && needed > there) {
        say('refused', `${name} has ${size(there, what)} ${of} and the campaign needs ${size(needed, what)} there`);
      }
    };
    fits('bytes', bytes, free?.bytes, 'free');
    // Some file systems do not count files and say 0.
    fits('files', files, free?.files === 0 ? null : free?.files, 'free');
    fits('bytes', bytes, quotaBytes, 'quota');
    fits('files', files, quotaFiles, 'quota');
    if (cleanupDays !== null && days > cleanupDays) say('warning', cleanupLine(use, name, cleanupDays));
    if (use === 'tokens' && storage.media === 'disk') {
      say('warning', `tokens on the disks of ${name}: they are read in random order, which flash is for`);
    }
  }
  return findings.filter(
    ({ use, line }, i) =>
      findings.findIndex((other) => other.line === line && (other.use === use || isShared(line))) === i,
  );
}

/** Lines about a whole file system come once, whatever is on it. */
function isShared(line: string): boolean {
  return / and the campaign needs /.test(line);
}

/** What becomes of each use where files that nobody reads are deleted. */
function cleanupLine(use: StorageUse, name: string, cleanupDays: number): string {
  const rule = `${name} deletes what was not read for ${cleanupDays} days`;
  if (use === 'checkpoints') return `${rule}: copy the checkpoints that are to be kept to an archive in time`;
  if (use === 'logs') return `${rule}: copy the campaign folder to an archive in time`;
  return `${rule}: ${use} of later phases are touched by nobody until then; read them once, or keep a copy`;
}

/** 3.2 TB, 1,000,000 files. */
function size(value: number, what: string): string {
  if (what === 'files') return `${value.toLocaleString('en')} files`;
  const units = ['bytes', 'kB', 'MB', 'GB', 'TB', 'PB'];
  let unit = 0;
  let scaled = value;
  while (scaled >= 1000 && unit < units.length - 1) {
    scaled /= 1000;
    unit++;
  }
  return `${scaled < 10 && unit > 0 ? scaled.toFixed(1) : Math.round(scaled)} ${units[unit]}`;
}

/** A part of a layout: files up to `end` bytes lie on `count` targets, in stripes of `size` bytes. */
export interface StripeComponent {
  /** null: to the end of the file. */
  readonly end: number | null;
  readonly count: number;
  readonly size: number | null;
}

export interface StripeNeed {
  readonly folder: string;
  /** Bytes of the files. */
  readonly sizes: readonly number[];
  /** Processes that write at the same time, each a file of its own. */
  readonly writers: number;
  /** Object storage targets of the file system; null: not known. */
  readonly targets: number | null;
}

export interface StripePlan {
  readonly layout: readonly StripeComponent[];
  /** To be run before the folder has files: a layout holds for those that come later. */
  readonly command: string;
  readonly text: string;
}

const mebibyte = 1 << 20;
/** Files up to here need one target, and up to the second few (cscs-docs docs/guides/storage.md). */
const small = 4 * mebibyte;
const middling = 64 * mebibyte;
/** Stripes of large files, and on how many targets one file lies at most (same page). */
const stripeBytes = 4 * mebibyte;
const mostTargets = 32;
/** Files that are written at the same time to one target: more wait for each other's disk. */
const perTarget = 4;

/** How a folder is to be striped for its files: the published progressive layout, narrower where many write at once. */
export function planStripes({ folder, sizes, writers, targets }: StripeNeed): StripePlan {
  if (sizes.length === 0) throw new RangeError('planStripes: no sizes');
  const largest = Math.max(...sizes);
  const smallest = Math.min(...sizes);
  const wide = widthFor(largest, writers, targets);
  const layout = layoutFor(smallest, largest, wide);
  const components = layout.map(({ end, count, size: bytes }) => {
    const to = layout.length === 1 ? '' : `-E ${end === null ? -1 : `${end / mebibyte}M`} `;
    return `${to}-c ${count}${bytes === null ? '' : ` -S ${bytes / mebibyte}M`}`;
  });
  const command = `lfs setstripe ${components.join(' ')} ${shellWord(folder)}`;
  const spread = spreadOver(layout, sizes, targets);
  const why =
    wide < Math.min(mostTargets, Math.ceil(largest / stripeBytes))
      ? `; ${writers} files are written at once, which spreads them by itself`
      : '';
  const text = [
    `${folder}: ${sizes.length} files of ${size(smallest, 'bytes')} to ${size(largest, 'bytes')}`,
    `  ${layout.map(componentText).join(', ')}${why}`,
    ...(spread === null ? [] : [`  the fullest of ${targets} targets holds ${spread.toFixed(2)} times the mean`]),
    `  ${command}`,
  ].join('\n');
  return { layout, command, text };
}

function layoutFor(smallest: number, largest: number, wide: number): StripeComponent[] {
  if (largest <= small) return [{ end: null, count: 1, size: null }];
  const last = { end: null, count: wide, size: stripeBytes };
  // One width for all needs no components, which cost the metadata server a little each.
  if (smallest > middling || wide === 1) return [last];
  const few = Math.min(4, wide);
  const rest = largest > middling && wide > few ? [last] : [];
  const middle = { end: rest.length > 0 ? middling : null, count: few, size: rest.length > 0 ? null : stripeBytes };
  return smallest > small ? [middle, ...rest] : [{ end: small, count: 1, size: null }, middle, ...rest];
}

/** On how many targets a large file is to lie, a power of two. */
function widthFor(largest: number, writers: number, targets: number | null): number {
  const stripes = Math.max(1, Math.ceil(largest / stripeBytes));
  const share = targets === null ? mostTargets : Math.max(1, Math.floor((perTarget * targets) / Math.max(1, writers)));
  const width = Math.min(mostTargets, stripes, share, targets ?? mostTargets);
  return 2 ** Math.floor(Math.log2(width));
}

function componentText({ end, count, size: bytes }: StripeComponent): string {
  const where = count === 1 ? 'one target' : `${count} targets`;
  return `${end === null ? 'the rest' : `up to ${end / mebibyte} MiB`} on ${where}${bytes === null ? '' : ` in ${bytes / mebibyte} MiB`}`;
}

/** Bytes of the fullest target by the mean, where each file begins at the next target; null where they are not known. */
function spreadOver(
  layout: readonly StripeComponent[],
  sizes: readonly number[],
  targets: number | null,
): number | null {
  if (targets === null) return null;
  const bytes = new Float64Array(targets);
  sizes.forEach((length, i) => {
    let from = 0;
    for (const { end, count } of layout) {
      const to = end === null ? length : Math.min(length, end);
      for (let k = 0; k < count && to > from; k++) {
        const target = (i + k) % targets;
        bytes[target] = (bytes[target] as number) + (to - from) / count;
      }
      from = Math.max(from, to);
    }
  });
  const sum = bytes.reduce((total, value) => total + value, 0);
  return sum === 0 ? 1 : Math.max(...bytes) / (sum / targets);
}

/** As one word of a POSIX shell. */
function shellWord(text: string): string {
  return /^[\w./+:=@%-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

/** Caches of just-in-time compilers: variable -> folder below the rank's own. */
const jitCaches = {
  CUDA_CACHE_PATH: 'cuda',
  PYTHONPYCACHEPREFIX: 'python',
  TORCHINDUCTOR_CACHE_DIR: 'inductor',
  TORCH_EXTENSIONS_DIR: 'torch-extensions',
  TRITON_CACHE_DIR: 'triton',
  TRITON_HOME: 'triton-home',
} as const;

/**
 * Lines of a batch script's task that give each rank caches of its own in `scratch`, a folder in memory, and remove what
 * the job leaves there. `$SLURM_JOB_ID` and `$SLURM_PROCID` are those of the task.
 */
export function jitCacheLines(scratch: string): { readonly before: string[]; readonly after: string[] } {
  const job = `${shellWord(scratch)}/belay-cache-"$SLURM_JOB_ID"`;
  return {
    before: [
      `belay_cache=${job}/"$SLURM_PROCID"`,
      `mkdir -p "$belay_cache"`,
      ...Object.entries(jitCaches).map(([name, dir]) => `export ${name}="$belay_cache"/${dir}`),
    ],
    after: ['rm -rf "$belay_cache"', `rmdir ${job} 2>/dev/null || true`],
  };
}

/** The same for a process that knows its job and rank. */
export function jitCacheEnvironment(scratch: string, job: string, rank: number): Record<string, string> {
  const folder = join(scratch, `belay-cache-${job}`, `${rank}`);
  return Object.fromEntries(Object.entries(jitCaches).map(([name, dir]) => [name, join(folder, dir)]));
}
