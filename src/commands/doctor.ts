// `belay doctor`: what this machine can do for belay, what is missing, and what to type about it.
//
// Every check says what was found; one that falls short also says what to type. Peak rates are measured now, on every
// dispatch target the processor has.
//
// Does not: change anything.
import { accessSync, constants, readFileSync, statfsSync } from 'node:fs';
import { availableParallelism, cpus, freemem, totalmem } from 'node:os';
import { delimiter, join } from 'node:path';
import { buildCommand } from '@stricli/core';
import { packageRoot, version } from '../base/version.ts';
import { nativeBackend, nativeStatus } from '../tensor/backend-native.ts';
import { selectedBackend } from '../tensor/backend-select.ts';
import { measurePeak } from '../train/telemetry.ts';

export interface Check {
  readonly name: string;
  /** `missing`: something is slower or not possible without it. `optional`: only some verbs ask for it. */
  readonly state: 'ok' | 'missing' | 'optional';
  readonly found: string;
  /** What to type or do, where something is missing. */
  readonly next: string | null;
}

export interface TargetReport {
  readonly name: string;
  readonly available: boolean;
  /** Why not; null where it is available. */
  readonly why: string | null;
  readonly runs: boolean;
  /** Measured now on all threads, floating-point operations per second; null where not available. */
  readonly peakFloat32: number | null;
  readonly peakBfloat16: number | null;
}

export interface DoctorReport {
  readonly belay: string;
  readonly node: string;
  readonly processor: { readonly model: string; readonly cores: number; readonly features: readonly string[] };
  readonly backend: {
    readonly name: string;
    readonly target: string;
    readonly threads: number;
    readonly reason: string;
  };
  readonly native: { readonly path: string; readonly compiler: string | null; readonly why: string | null };
  readonly targets: readonly TargetReport[];
  readonly cuda: string;
  readonly memory: { readonly totalBytes: number; readonly freeBytes: number };
  readonly disk: { readonly path: string; readonly freeBytes: number };
  readonly checks: readonly Check[];
  /** True when no check is `missing`. */
  readonly healthy: boolean;
}

/** Looks at this machine. Takes a fifth of a second per dispatch target and precision. */
export function examineMachine(): DoctorReport {
  const native = nativeStatus();
  const { backend, reason } = selectedBackend();
  const targets = native.targets.map(({ name, available, why }) => ({
    name,
    available,
    why,
    runs: backend.name === 'cpu' && backend.target === name,
    peakFloat32: available ? measurePeak(nativeBackend({ target: name }), 'float32') : null,
    peakBfloat16: available ? measurePeak(nativeBackend({ target: name }), 'bfloat16') : null,
  }));
  const disk = statfsSync(process.cwd());
  const memory = { totalBytes: totalmem(), freeBytes: freemem() };
  const free = { path: process.cwd(), freeBytes: disk.bavail * disk.bsize };
  const checks = [
    checkNode(),
    checkNative(native.why),
    checkCompiler(native.why),
    checkRoom('memory', memory.totalBytes, 4e9, 'belay demo stays under 4 GB; smaller recipes need less'),
    checkRoom('disk', free.freeBytes, 2e9, `free space below ${free.path}, or use --out on another disk`),
    ...optionalTools.map(checkTool),
  ];
  return {
    belay: version,
    node: process.versions.node,
    processor: { model: cpus()[0]?.model ?? 'unknown', cores: availableParallelism(), features: processorFeatures() },
    backend: { name: backend.name, target: backend.target, threads: backend.threads, reason },
    native: { path: native.path, compiler: native.compiler, why: native.why },
    targets,
    cuda: 'not built: this version has no CUDA kernels',
    memory,
    disk: free,
    checks,
    healthy: checks.every(({ state }) => state !== 'missing'),
  };
}

function checkNode(): Check {
  const major = Number(process.versions.node.split('.')[0]);
  const found = `node ${process.versions.node}`;
  return major >= 20
    ? { name: 'node', state: 'ok', found, next: null }
    : { name: 'node', state: 'missing', found, next: 'install Node 20 or newer' };
}

function checkNative(why: string | null): Check {
  if (why === null) return { name: 'native kernels', state: 'ok', found: 'built and loaded', next: null };
  return {
    name: 'native kernels',
    state: 'missing',
    found: `${why}; everything runs in TypeScript, hundreds of times slower`,
    next: `npm run build:native (in ${packageRoot})`,
  };
}

function checkCompiler(why: string | null): Check {
  const found = findProgram(process.env['CXX'] ?? 'g++') ?? findProgram('clang++');
  if (found) return { name: 'compiler', state: 'ok', found, next: null };
  return {
    name: 'compiler',
    // Kernels that are built need it no more.
    state: why === null ? 'optional' : 'missing',
    found: 'no g++ or clang++',
    next: 'apt-get install g++ (Debian, Ubuntu) or dnf install gcc-c++ (Fedora, RHEL)',
  };
}

function checkRoom(name: string, bytes: number, wanted: number, next: string): Check {
  const found = `${(bytes / 1e9).toFixed(1)} GB`;
  return bytes >= wanted ? { name, state: 'ok', found, next: null } : { name, state: 'missing', found, next };
}

const optionalTools = [
  { program: 'apt-get', use: 'belay data get debian fetches documents with it', next: 'only on Debian and Ubuntu' },
  { program: 'sbatch', use: 'runs on a cluster are submitted with it', next: 'log in to a node with the Slurm client' },
] as const;

function checkTool({ program, use, next }: (typeof optionalTools)[number]): Check {
  const found = findProgram(program);
  return found
    ? { name: program, state: 'ok', found, next: null }
    : { name: program, state: 'optional', found: `not found; ${use}`, next };
}

/** The path of a program, looked up as the shell does. */
function findProgram(name: string): string | undefined {
  const places = name.includes('/')
    ? [name]
    : (process.env['PATH'] ?? '').split(delimiter).map((dir) => join(dir, name));
  return places.find((place) => {
    try {
      accessSync(place, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

/** Of the processor's flags, those that decide which kernels run. */
function processorFeatures(): readonly string[] {
  const known = ['avx2', 'fma', 'avx512f', 'avx512bw', 'avx512vl', 'avx512_bf16', 'amx_bf16', 'asimd', 'bf16'];
  try {
    const line = /^(?:flags|Features)\s*:(.*)$/m.exec(readFileSync('/proc/cpuinfo', 'utf8'))?.[1] ?? '';
    const flags = new Set(line.trim().split(/\s+/));
    return known.filter((flag) => flags.has(flag));
  } catch {
    return [];
  }
}

/** The report for people. */
export function doctorText(report: DoctorReport): string {
  const { processor, backend, native, targets, checks } = report;
  const lines = [
    `belay ${report.belay}, node ${report.node}`,
    `processor  ${processor.model}, ${processor.cores} cores${processor.features.length > 0 ? `: ${processor.features.join(' ')}` : ''}`,
    `memory     ${gigabytes(report.memory.totalBytes)} (${gigabytes(report.memory.freeBytes)} free), disk ${gigabytes(report.disk.freeBytes)} free`,
    `runs       ${backend.reason}`,
    `kernels    ${native.why ?? `${native.path} (compiler ${native.compiler})`}`,
  ];
  for (const { name, available, why, runs, peakFloat32, peakBfloat16 } of targets) {
    const rate = (value: number | null): string => `${((value ?? 0) / 1e9).toFixed(0)} GFLOP/s`;
    const what = available
      ? `peak ${rate(peakFloat32)} float32, ${rate(peakBfloat16)} bfloat16 (measured now)`
      : `not here: ${why}`;
    lines.push(`  ${runs ? '*' : ' '} ${name.padEnd(11)} ${what}`);
  }
  lines.push(`CUDA       ${report.cuda}`, '');
  const width = Math.max(...checks.map(({ name }) => name.length));
  for (const { name, state, found, next } of checks) {
    const mark = { ok: 'ok      ', missing: 'MISSING ', optional: 'optional' }[state];
    lines.push(`${mark}  ${name.padEnd(width)}  ${found}`);
    if (next !== null) lines.push(`${' '.repeat(width + 12)}next: ${next}`);
  }
  return `${lines.join('\n')}\n`;
}

function gigabytes(bytes: number): string {
  return `${(bytes / 1e9).toFixed(1)} GB`;
}

interface Flags {
  readonly json: boolean;
}

export const command = buildCommand<Flags>({
  docs: {
    brief: 'What this machine can do, and what is missing',
    fullDescription: `Prints the processor's features, which kernels run and why, their measured peak rates, memory, disk, and what is
missing with what to type. Exit code 0 also where something is missing; --json has "healthy".

EXAMPLE
  belay doctor
  belay doctor --json`,
  },
  parameters: { flags: { json: { kind: 'boolean', brief: 'one JSON object', default: false } } },
  func({ json }) {
    const report = examineMachine();
    process.stdout.write(json ? `${JSON.stringify(report)}\n` : doctorText(report));
  },
});
