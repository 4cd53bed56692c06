// `belay data step NAME`: one step of the cleaning line on JSON lines from standard input.
//
// Does not: do the work; data/run-step.ts does.
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { buildCommand } from '@stricli/core';

import { UserError } from '../base/errors.ts';
import { errorText, type Json } from '../base/json.ts';
import { JsonlWriter } from '../base/jsonl.ts';
import { terminalLog } from '../base/progress.ts';
import { runStepOnLines } from '../data/run-step.ts';
import { makeStep, stepDefinitions } from '../data/steps.ts';
import { wholeNumber } from './flags.ts';

interface Flags {
  readonly set?: readonly string[];
  readonly removed?: string;
  readonly seed: number;
}

/** `a.b=value` lines as an object; a value is JSON where it parses as JSON, else text. */
export function settingsOf(set: readonly string[]): Record<string, Json> {
  const settings: Record<string, Json> = {};
  for (const line of set) {
    const at = line.indexOf('=');
    if (at < 1) throw new UserError(`--set takes key=value`, { found: line, next: '--set mode=apertus' });
    const path = line.slice(0, at).split('.');
    const last = path.pop() as string;
    let into: unknown = settings;
    for (const key of path) {
      if (isObject(into) && !Object.hasOwn(into, key)) into[key] = {};
      into = isObject(into) ? into[key] : undefined;
    }
    if (!isObject(into)) {
      throw new UserError('--set names a part of a setting that has no parts', { found: line });
    }
    into[last] = settingOf(line.slice(at + 1));
  }
  return settings;
}

/** A file for lines that were set aside; that it can be written is known at once. */
export function fileOfRemoved(path: string): JsonlWriter {
  try {
    closeSync(openSync(path, 'w'));
  } catch (cause) {
    throw new UserError('the file for removed lines cannot be written', { found: errorText(cause), cause });
  }
  return new JsonlWriter(path);
}

function isObject(value: unknown): value is Record<string, unknown> {
  return value !== null && typeof value === 'object' && !Array.isArray(value);
}

function settingOf(text: string): Json {
  try {
    return JSON.parse(text) as Json;
  } catch {
    return text;
  }
}

export const command = buildCommand<Flags, [string]>({
  docs: {
    brief: 'one step on JSON lines from standard input',
    fullDescription: `Reads JSON lines with "text" (and, where a step asks for them, "id", "url", "language", "source", "licence"), writes the
kept ones to standard output as the step leaves them, and the dropped ones with their reason to --removed.

STEPS
${stepDefinitions.map(({ name, brief }) => `  ${name.padEnd(18)} ${brief}`).join('\n')}

EXAMPLE
  belay data step pii < in.jsonl > out.jsonl
  belay data step pii --set mode=apertus --removed gone.jsonl < in.jsonl > out.jsonl`,
  },
  parameters: {
    flags: {
      set: {
        kind: 'parsed',
        parse: String,
        brief: 'a setting, key=value (again for more)',
        variadic: true,
        optional: true,
      },
      removed: { kind: 'parsed', parse: String, brief: 'file for what was dropped, with the reason', optional: true },
      seed: { kind: 'parsed', parse: wholeNumber(0), brief: 'decides samples', default: '28' },
    },
    positional: {
      kind: 'tuple',
      parameters: [{ parse: String, brief: 'step', placeholder: 'NAME' }],
    },
  },
  async func({ set = [], removed: removedPath, seed }, name) {
    const log = terminalLog();
    const unasked = { noAddress: 0, noRobots: 0 };
    const step = await makeStep(name, settingsOf(set), { log, seed, onUnasked: (why) => unasked[why]++ });
    const removed = removedPath === undefined ? undefined : fileOfRemoved(removedPath);
    const counts = await runStepOnLines({
      step,
      input: '/dev/stdin',
      keep: async (line) => {
        if (!process.stdout.write(`${JSON.stringify(line)}\n`)) await once(process.stdout, 'drain');
      },
      remove: async (line) => removed?.write(line),
    });
    await removed?.close();
    if (unasked.noAddress + unasked.noRobots > 0) {
      log.line(
        `kept unasked: ${unasked.noAddress} without an address, ${unasked.noRobots} of hosts without a robots.txt`,
      );
    }
    log.line(`${name}: ${counts.read} read, ${counts.kept} kept, ${counts.removed} removed`);
  },
});
