// Lines of code per room, and the largest files: growth is to be seen, no number is enforced.
//
//   npm run size
//
// Counts text lines of what git tracks; tests apart. Golden files, the lock file and the licence do not count.
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';

const files = execFileSync('git', ['ls-files'], { encoding: 'utf8' })
  .split('\n')
  .filter((path) => /\.(ts|mjs|js|cpp|h|inl|py|sh|md)$/.test(path))
  .filter((path) => !path.startsWith('test/golden/') && existsSync(path))
  .map((path) => ({ path, lines: readFileSync(path, 'utf8').split('\n').length - 1 }));

const isTest = (path) => path.startsWith('test/') || path.endsWith('.test.ts') || path.startsWith('native/check/');
/** src/base/x.ts -> src/base, src/cli.ts -> src, docs/x.md -> docs, README.md -> . */
const roomOf = (path) => {
  const folders = path.split('/').slice(0, -1);
  return folders.slice(0, folders[0] === 'src' || folders[0] === 'native' ? 2 : 1).join('/') || '.';
};

const rooms = new Map();
for (const { path, lines } of files) {
  const room = rooms.get(roomOf(path)) ?? { files: 0, lines: 0, tests: 0 };
  room.files++;
  room[isTest(path) ? 'tests' : 'lines'] += lines;
  rooms.set(roomOf(path), room);
}

const row = (name, ...numbers) => console.log(name.padEnd(20) + numbers.map((n) => String(n).padStart(9)).join(''));
row('room', 'files', 'lines', 'tests');
const total = { files: 0, lines: 0, tests: 0 };
for (const [name, room] of [...rooms].sort(([a], [b]) => (a < b ? -1 : 1))) {
  row(name, room.files, room.lines, room.tests);
  for (const key of Object.keys(total)) total[key] += room[key];
}
row('all', total.files, total.lines, total.tests);

console.log('\nlargest files');
for (const { path, lines } of [...files].sort((a, b) => b.lines - a.lines).slice(0, 15)) {
  console.log(`${String(lines).padStart(6)}  ${path}`);
}
