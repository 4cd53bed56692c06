// Builds build/Release/belay.node from native/: npm's install script, and `npm run build:native`.
//
// Calls the compiler itself instead of going through node-gyp: each dispatch target is one file with its own
// instruction-set flags (in gyp that is one static library each), and a C++ compiler is then all that is needed, no
// Python, no make, no download. Node-API is a C interface whose headers come with node. An object is compiled again
// when its source, any header, its flags or the compiler changed (a hash beside the object says); results are
// renamed into place, so that a process that has the old library open keeps it.
//
//   node native/build.mjs              where it cannot be built: a line on standard error, exit 0 (TypeScript runs)
//   node native/build.mjs --required   where it cannot be built: exit 1
//   node native/build.mjs --sanitize   build/Sanitize/belay.node with ASan and UBSan (load with BELAY_ADDON=<path>)
//
// A target whose instructions the compiler does not know is left out with a sentence. A library that could not be built
// again is removed unless it is of these very sources: kernels never lag behind the code that calls them.
//
// Does not: choose an instruction set for this machine; all are built, and the library chooses when it is loaded.

import { execFileSync, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const native = dirname(fileURLToPath(import.meta.url));
const isRequired = process.argv.includes('--required');
const isSanitized = process.argv.includes('--sanitize');
const out = join(native, '..', 'build', isSanitized ? 'Sanitize' : 'Release');
const library = join(out, 'belay.node');

const common = ['-std=c++20', '-O3', '-fPIC', '-fno-exceptions', '-fno-rtti', '-fvisibility=hidden', '-pthread'];
// A kernel promises bits: no contraction that the source does not spell out.
common.push('-ffp-contract=off', '-fno-math-errno', '-Wall', '-Wextra', '-DNAPI_VERSION=8');
// GCC 12 warns about its own AVX-512 headers (gcc.gnu.org/PR105593), thousands of lines of it.
common.push('-Wno-uninitialized', '-Wno-maybe-uninitialized');
if (isSanitized) common.push('-O1', '-g', '-fsanitize=address,undefined', '-fno-omit-frame-pointer');

/** Instruction-set flags by file name; the processors in between them are not worth a file. */
const avx2 = ['-mavx2', '-mfma'];
const avx512 = ['-mavx512f', '-mavx512bw', '-mavx512vl', '-mavx512dq', ...avx2];
const flagsOf = {
  'target-avx2.cpp': avx2,
  'target-avx512.cpp': avx512,
  'target-avx512bf16.cpp': [...avx512, '-mavx512bf16'],
  'minima-avx2.cpp': avx2,
  'classifier-avx2.cpp': avx2,
  'minima-avx512.cpp': avx512,
};

/** An instruction of each, which compiler and assembler must both know. */
const instructionOf = {
  'target-avx2.cpp': 'vpermd %ymm0, %ymm1, %ymm2',
  'target-avx512.cpp': 'vpermw %zmm0, %zmm1, %zmm2',
  'target-avx512bf16.cpp': 'vcvtne2ps2bf16 %zmm0, %zmm1, %zmm2',
  'minima-avx2.cpp': 'vpermd %ymm0, %ymm1, %ymm2',
  'classifier-avx2.cpp': 'vpermd %ymm0, %ymm1, %ymm2',
  'minima-avx512.cpp': 'vpermw %zmm0, %zmm1, %zmm2',
};

/** Ends here: an install goes on without kernels, whoever asked for them with --required is told by the exit code. */
function giveUp(why, whatToDo) {
  console.error(`belay: native kernels not built: ${why}. ${whatToDo}`);
  const made = `${library}.sources`;
  if (existsSync(library) && !(existsSync(made) && readFileSync(made, 'utf8') === sourcesHash())) {
    for (const file of [library, `${library}.stamp`, made]) rmSync(file, { force: true });
    console.error(`belay: removed ${library}, which was built from other sources`);
  }
  process.exit(isRequired ? 1 : 0);
}

const newer = 'Install g++ 10 or newer, then: npm run build:native.';
const missing = 'Until then belay runs on its slow TypeScript backend.';

/** The first compiler that answers, with what it says it is. */
function findCompiler() {
  const candidates = process.env.CXX ? [process.env.CXX] : ['g++', 'c++', 'clang++'];
  for (const command of candidates) {
    try {
      const [program, ...rest] = command.split(' ');
      return { program, rest, version: execFileSync(program, [...rest, '--version'], { encoding: 'utf8' }) };
    } catch {}
  }
  const advice = `Install g++ 10 or newer (Debian: apt-get install g++; macOS: xcode-select --install), then: npm run build:native. ${missing}`;
  return giveUp(`no C++ compiler (tried ${candidates.join(', ')})`, advice);
}

/** The folder that node_api.h lies in. */
function findHeaders() {
  const given = process.env.npm_config_nodedir;
  const folders = [
    ...(given ? [join(given, 'include', 'node'), join(given, 'src')] : []),
    join(dirname(process.execPath), '..', 'include', 'node'),
    '/usr/include/node',
    '/usr/local/include/node',
    '/usr/include/nodejs/src',
  ];
  const found = folders.find((folder) => existsSync(join(folder, 'node_api.h')));
  const advice = `Install node with its headers (nodejs.org archives and images have them; Debian: libnode-dev) or set npm_config_nodedir, then: npm run build:native. ${missing}`;
  return found ?? giveUp(`no node_api.h (looked in ${folders.join(', ')})`, advice);
}

const hash = (...parts) => {
  const sum = createHash('sha256');
  for (const part of parts) sum.update(part).update('\0');
  return sum.digest('hex');
};

/** Paths of the files in a folder; none where there is no such folder. */
const filesIn = (folder) => (existsSync(folder) ? readdirSync(folder).sort() : []).map((name) => join(folder, name));

/** A hash of everything that the library is made from. */
function sourcesHash() {
  const files = readdirSync(native, { recursive: true }).filter((name) => /\.(cpp|h|inl|mjs)$/.test(name));
  return hash(...files.sort().flatMap((name) => [name, readFileSync(join(native, name))]));
}

/** What the stamp beside `file` says, or '' where either is missing. */
const stampOf = (file) =>
  existsSync(file) && existsSync(`${file}.stamp`) ? readFileSync(`${file}.stamp`, 'utf8') : '';

/** Runs the compiler; resolves to its exit status and everything it printed. */
function run(compiler, args) {
  return new Promise((resolve) => {
    const child = spawn(compiler.program, [...compiler.rest, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
    let text = '';
    child.stdout.on('data', (piece) => (text += piece));
    child.stderr.on('data', (piece) => (text += piece));
    child.on('error', (error) => resolve({ ok: false, text: error.message }));
    child.on('close', (status) => resolve({ ok: status === 0, text }));
  });
}

/** Makes `file` by `args` plus `-o`, through a temporary name; prints what the compiler said. */
async function make(compiler, file, stamp, args) {
  const temporary = `${file}.${process.pid}`;
  const { ok, text } = await run(compiler, [...args, '-o', temporary]);
  if (ok) {
    renameSync(temporary, file);
    writeFileSync(`${file}.stamp`, stamp);
  } else rmSync(temporary, { force: true });
  return { ok, text };
}

/** Whether the compiler makes an object of a line of C++ with these flags. */
async function knows(compiler, name, flags, line) {
  const source = join(out, `probe-${name}.${process.pid}.cpp`);
  const object = `${source}.o`;
  writeFileSync(source, `${line}\n`);
  const { ok } = await run(compiler, [...flags, '-c', source, '-o', object]);
  for (const file of [source, object]) rmSync(file, { force: true });
  return ok;
}

/** Target files whose instructions the compiler does not know. */
async function unknownTargets(compiler) {
  const asked = Object.entries(flagsOf).map(async ([file, flags]) => {
    const line = `void probe() { __asm__("${instructionOf[file]}"); }`;
    return (await knows(compiler, basename(file, '.cpp'), [...common, ...flags], line)) ? [] : [file];
  });
  return (await Promise.all(asked)).flat();
}

async function main() {
  const compiler = findCompiler();
  const headers = findHeaders();
  mkdirSync(out, { recursive: true });
  if (!(await knows(compiler, 'language', common, 'constinit int probe = 0;'))) {
    const [name] = compiler.version.split('\n');
    giveUp(`${compiler.program} makes no C++20 (${name})`, `${newer} ${missing}`);
  }
  const isX86 = process.arch === 'x64';
  const unknown = isX86 ? await unknownTargets(compiler) : Object.keys(flagsOf);
  const targetOf = (file) => file.replace(/^(target|minima|classifier)-|\.cpp$/g, '');
  if (isX86 && unknown.length > 0) {
    const names = [...new Set(unknown.map(targetOf))].join(', ');
    console.error(`belay: ${compiler.program} does not know the instructions of ${names}; built without. ${newer}`);
  }
  const parts = ['cpu', 'comm', 'data', 'tokenizer'].flatMap((folder) => filesIn(join(native, folder)));
  const sources = parts.filter((file) => file.endsWith('.cpp') && !unknown.includes(basename(file)));
  sources.push(join(native, 'addon.cpp'));
  // native/cpu/dispatch.cpp says of these that they were not built.
  const without = isX86 ? [...new Set(unknown.map((file) => `-DBELAY_NO_${targetOf(file).toUpperCase()}`))] : [];
  // Kernels include nothing of comm/, so its headers compile none of them again.
  const contextOf = (source) => {
    const folder = basename(dirname(source));
    const headers = parts.filter((file) => /\.(h|inl)$/.test(file));
    const included = headers.filter((file) => folder === 'native' || basename(dirname(file)) === folder);
    return hash(compiler.version, ...[...included, join(native, 'kernels.h')].map((file) => readFileSync(file)));
  };

  const objects = [];
  const waiting = [];
  for (const source of sources) {
    const object = join(out, `${basename(source, '.cpp')}.o`);
    const args = [
      ...common,
      ...without,
      ...(flagsOf[basename(source)] ?? []),
      `-I${native}`,
      `-isystem${headers}`,
      '-c',
      source,
    ];
    const stamp = hash(contextOf(source), args.join(' '), readFileSync(source));
    objects.push({ object, stamp });
    if (stampOf(object) !== stamp) waiting.push({ source, object, stamp, args });
  }

  let failed = false;
  const worker = async () => {
    for (let job = waiting.shift(); job !== undefined; job = waiting.shift()) {
      const { ok, text } = await make(compiler, job.object, job.stamp, job.args);
      if (text !== '') console.error(text.trimEnd());
      if (!ok) {
        console.error(`belay: ${job.source} does not compile`);
        failed = true;
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(availableParallelism(), waiting.length) }, worker));
  if (failed) giveUp('the errors above', `Please report them with the compiler version. ${missing}`);

  const shared = process.platform === 'darwin' ? ['-bundle', '-undefined', 'dynamic_lookup'] : ['-shared', '-pthread'];
  const linked = [...shared, ...(isSanitized ? ['-fsanitize=address,undefined'] : [])];
  linked.push(...objects.map((part) => part.object));
  // For dlopen, before glibc 2.34; last, because some linkers drop libraries that nothing before them needs.
  if (process.platform === 'linux') linked.push('-ldl');
  const stamp = hash(linked.join(' '), ...objects.map((part) => part.stamp));
  if (stampOf(library) === stamp) {
    writeFileSync(`${library}.sources`, sourcesHash());
    return;
  }
  // The C++ runtime inside the library: it then loads where only an older one is installed. Not every compiler can.
  let result = await make(compiler, library, stamp, [...linked, '-static-libstdc++', '-static-libgcc']);
  if (!result.ok) result = await make(compiler, library, stamp, linked);
  if (!result.ok) {
    console.error(result.text.trimEnd());
    giveUp('the linker error above', `Please report it with the compiler version. ${missing}`);
  }
  writeFileSync(`${library}.sources`, sourcesHash());
  console.log(`belay: native kernels built: ${join('build', basename(out), 'belay.node')}`);
}

await main();
