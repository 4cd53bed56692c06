#!/usr/bin/env node
// The installed command: runs the compiled front door, or says how to compile it.
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const cli = new URL('../dist/src/cli.js', import.meta.url);
if (existsSync(cli)) {
  await import(cli.href);
} else {
  const root = fileURLToPath(new URL('..', import.meta.url));
  process.stderr.write(
    `belay is not built: ${fileURLToPath(cli)} is missing\n  next: npm ci (or npm run build) in ${root}\n`,
  );
  process.exitCode = 2;
}
