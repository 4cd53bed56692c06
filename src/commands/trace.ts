// `belay trace`: where a file came from, down to the source documents.
//
// The tree is that of the manifests: every artefact names its inputs by role, folder and id. Where an input's folder is
// gone or holds something else now, the copy of its manifest in the asked artefact's `provenance/` is shown instead, so
// a released folder can be traced wherever it was copied.
//
// Does not: trust sizes alone for the asked file: it is hashed. `verify` hashes every file of every artefact found.
import { existsSync, lstatSync } from 'node:fs';
import { basename, join, relative, resolve, sep } from 'node:path';
import { buildCommand } from '@stricli/core';
import { UserError } from '../base/errors.ts';
import { hashFile } from '../base/hashing.ts';
import { canonicalJson, type Json } from '../base/json.ts';
import { ledgerFiles, readLedger } from '../base/ledger.ts';
import {
  checkFiles,
  descend,
  enclosingArtefact,
  findManifest,
  type Manifest,
  manifestName,
  readManifest,
} from '../base/manifest.ts';
import { type KnownManifest, provenanceName, readProvenance } from '../release/provenance.ts';
import { stageFolders } from './run-folder.ts';
import { documentTraceText, traceDocument } from './trace-document.ts';

/**
 * `here`: the folder holds the artefact that was used. `replaced`: the folder holds another one now. `copied`: only the
 * manifest is known, from `provenance/`. `gone`: nothing is known but its id.
 */
export type TraceState = 'here' | 'replaced' | 'copied' | 'gone';

export interface TraceNode {
  /** The role in its child, e.g. `tokenizer`; empty for the asked artefact. */
  readonly role: string;
  readonly state: TraceState;
  /** The id that was used, as the child recorded it. */
  readonly id: string;
  /** With `replaced`: the id of what lies there now. */
  readonly foundId: string | null;
  readonly dir: string;
  readonly kind: string | null;
  readonly belay: string | null;
  readonly recipe: Json;
  readonly facts: { readonly [name: string]: Json };
  readonly files: { readonly count: number; readonly bytes: number } | null;
  /** Documents by licence, for artefacts that hold or describe documents. */
  readonly licences: { readonly [licence: string]: Json } | null;
  /** Files that differ from the manifest. */
  readonly problems: readonly string[];
  readonly inputs: readonly TraceNode[];
}

export interface Trace {
  readonly path: string;
  /** The asked file, when one was asked for. */
  readonly file: TracedFile | null;
  readonly artefact: TraceNode;
}

export interface TracedFile {
  /** Relative to the artefact. */
  readonly path: string;
  readonly bytes: number;
  readonly sha256: string;
  /** `unlisted`: lies in the artefact's folder but is no part of it (logs, checkpoints). */
  readonly state: 'unchanged' | 'changed' | 'unlisted';
}

/** The family tree of the artefact that holds `path`. */
export async function tracePath(path: string, options: { readonly verify?: boolean } = {}): Promise<Trace> {
  const dir = artefactOf(path);
  const manifest = readManifest(dir);
  const verify = options.verify ?? false;

  const visit = async (
    role: string,
    at: string,
    recordedId: string,
    known: ReadonlyMap<string, KnownManifest> = new Map(),
    below: readonly string[] = [],
  ): Promise<TraceNode> => {
    const found = findManifest(at);
    const isHere = found?.id === recordedId;
    const used = isHere ? found : known.get(recordedId)?.manifest;
    // One that came from elsewhere brings the manifests of its own ancestors.
    const carried = isHere ? new Map([...known, ...readProvenance(at)]) : known;
    const shown = used ?? found;
    const state: TraceState = isHere ? 'here' : used ? 'copied' : found ? 'replaced' : 'gone';
    const path = descend(below, shown?.id ?? recordedId, at);
    const inputs: TraceNode[] = [];
    for (const { name, path: to, id } of shown?.inputs ?? []) {
      inputs.push(await visit(name, resolve(at, to), id, carried, path));
    }
    return {
      role,
      state,
      id: recordedId,
      foundId: found && !isHere ? found.id : null,
      dir: at,
      kind: shown?.kind ?? null,
      belay: shown?.belay ?? null,
      recipe: shown?.recipe ?? null,
      facts: shown?.facts ?? {},
      files: shown
        ? { count: shown.files.length, bytes: shown.files.reduce((sum, { bytes }) => sum + bytes, 0) }
        : null,
      licences: shown ? await licencesOf(at, shown, isHere) : null,
      problems: isHere && (verify || role === '') ? checkFiles(at, found, verify) : [],
      inputs,
    };
  };

  return { path, file: traceFile(path, dir, manifest), artefact: await visit('', dir, manifest.id) };
}

/** The artefact that encloses a path; for a run folder, the furthest artefact of the run. */
function artefactOf(path: string): string {
  if (!lstatSync(path, { throwIfNoEntry: false })) throw new UserError(`there is nothing at ${path}`);
  if (existsSync(join(path, 'recipe.json')) && !existsSync(join(path, manifestName))) {
    const last = Object.values(stageFolders)
      .map((name) => join(path, name))
      .findLast((dir) => findManifest(dir) !== undefined && basename(dir) !== stageFolders.memorisation);
    if (last !== undefined) return resolve(last);
  }
  const dir = enclosingArtefact(path);
  if (dir === undefined) {
    throw new UserError(`${path} belongs to no artefact`, {
      found: `no ${manifestName} in its folder or above`,
      expected: 'a file or folder that a verb of belay made',
    });
  }
  return dir;
}

function traceFile(path: string, dir: string, manifest: Manifest): TracedFile | null {
  if (lstatSync(path).isDirectory() || resolve(path) === join(dir, manifestName)) return null;
  const inside = relative(dir, resolve(path)).split(sep).join('/');
  const listed = manifest.files.find((file) => file.path === inside);
  const { sha256, bytes } = hashFile(path);
  const state = !listed ? 'unlisted' : listed.sha256 === sha256 ? 'unchanged' : 'changed';
  return { path: inside, bytes, sha256, state };
}

/** By the facts of the manifest, else counted from the ledger. */
async function licencesOf(
  dir: string,
  manifest: Manifest,
  isHere: boolean,
): Promise<{ readonly [licence: string]: Json } | null> {
  const { licences } = manifest.facts;
  if (licences !== null && typeof licences === 'object' && !Array.isArray(licences)) {
    return licences as { readonly [licence: string]: Json };
  }
  if (!isHere || ledgerFiles(dir).length === 0) return null;
  const counts = new Map<string, number>();
  for await (const { licence, verdict } of readLedger(dir)) {
    if (verdict === 'kept') counts.set(licence, (counts.get(licence) ?? 0) + 1);
  }
  return Object.fromEntries(counts);
}

/** The trace as a tree for people. */
export function traceText({ path, file, artefact }: Trace): string {
  const lines: string[] = [];
  if (file) {
    const verdict = {
      unchanged: 'as the manifest says',
      changed: 'CHANGED since the artefact was made',
      unlisted: 'lies in the folder but is no part of the artefact',
    }[file.state];
    lines.push(`${path}`, `  ${file.bytes} bytes, sha256 ${file.sha256}: ${verdict}`, '');
  }
  const told = new Set<string>();
  const visit = (node: TraceNode, indent: string, lead: string): void => {
    const title = node.role === '' ? (node.kind ?? '?') : `${node.role}: ${node.kind ?? 'unknown'}`;
    const repeated = told.has(node.id);
    lines.push(`${lead}${title}  ${node.id.slice(0, 12)}  ${shortPath(node.dir)}${repeated ? '  (as above)' : ''}`);
    if (repeated) return;
    told.add(node.id);
    const below = node.inputs.length > 0 ? `${indent}│    ` : `${indent}     `;
    const note = (name: string, text: string): void => void lines.push(`${below}${name.padEnd(9)} ${text}`);
    if (node.state === 'replaced') {
      note('REPLACED', `the folder holds ${(node.foundId ?? '').slice(0, 12)} now; what follows describes that one`);
    } else if (node.state === 'copied') {
      const now =
        node.foundId === null ? 'its folder is not here' : `its folder holds ${node.foundId.slice(0, 12)} now`;
      note('copied', `from ${provenanceName}/: ${now}`);
    } else if (node.state === 'gone') note('GONE', 'nothing is known of it but its id');
    for (const problem of node.problems) note('CHANGED', problem);
    if (node.kind !== null) {
      if (!isEmpty(node.recipe)) note('recipe', brief(node.recipe));
      const { licences: _, ...facts } = node.facts;
      if (!isEmpty(facts)) note('facts', brief(facts));
      if (node.licences) note('licences', brief(node.licences));
      if (node.files)
        note('files', `${node.files.count} files, ${node.files.bytes} bytes, made by belay ${node.belay}`);
    }
    for (const [i, input] of node.inputs.entries()) {
      const isLast = i === node.inputs.length - 1;
      visit(input, `${indent}${isLast ? '     ' : '│    '}`, `${indent}${isLast ? '└─ ' : '├─ '}`);
    }
  };
  visit(artefact, '', '');
  return `${lines.join('\n')}\n`;
}

function shortPath(dir: string): string {
  const near = relative(process.cwd(), dir);
  return near === '' ? '.' : near.startsWith('..') ? dir : near;
}

function isEmpty(value: Json): boolean {
  return value === null || (typeof value === 'object' && Object.keys(value).length === 0);
}

/** `a=1 b.c=2 ...` of a JSON value, cut to a line. */
function brief(value: Json): string {
  const parts: string[] = [];
  const walk = (at: string, item: Json): void => {
    if (item !== null && typeof item === 'object' && !Array.isArray(item)) {
      for (const [key, field] of Object.entries(item)) walk(at === '' ? key : `${at}.${key}`, field);
    } else parts.push(`${at}=${typeof item === 'string' ? item : canonicalJson(item)}`);
  };
  walk('', value);
  const text = parts.join(' ');
  return text.length > 160 ? `${text.slice(0, 157)}...` : text;
}

interface Flags {
  readonly json: boolean;
  readonly verify: boolean;
  readonly document?: string;
}

export const command = buildCommand<Flags, [string?]>({
  docs: {
    brief: 'Where a file came from, or what became of a document',
    fullDescription: `Prints the family tree of the artefact that holds PATH, down to the source documents: kinds, ids, recipe parts, facts,
licences. The asked file is hashed and compared; --verify hashes the files of all ancestors found.
With --document: whether the document (id or address) was kept, which rule dropped it, the conversations made from it, and the steps
of pretraining and fine-tuning that saw it.
Exit code 0 when nothing differs, 4 when a file or an input changed since.

EXAMPLE
  belay trace out/demo/release/model.safetensors
  belay trace --document https://wide-kiosk.example/texts/deu_1996.html out/demo --json`,
  },
  parameters: {
    flags: {
      json: { kind: 'boolean', brief: 'one JSON object', default: false },
      verify: { kind: 'boolean', brief: 'hash every file of every artefact found', default: false },
      document: {
        kind: 'parsed',
        parse: String,
        brief: 'id or address of a document',
        placeholder: 'ID',
        optional: true,
      },
    },
    positional: {
      kind: 'tuple',
      parameters: [
        { parse: String, brief: 'file, artefact or run folder (default: here)', placeholder: 'PATH', optional: true },
      ],
    },
  },
  async func({ json, verify, document }, path = '.') {
    if (document !== undefined) {
      const trace = await traceDocument(document, path);
      process.stdout.write(json ? `${JSON.stringify(trace)}\n` : documentTraceText(trace));
      return;
    }
    const trace = await tracePath(path, { verify });
    process.stdout.write(json ? `${JSON.stringify(trace)}\n` : traceText(trace));
    if (hasChanges(trace)) process.exitCode = somethingChanged;
  },
});

/** Exit code of a trace that found a difference. */
export const somethingChanged = 4;

/** True when the asked file, a checked file or an input differs from what the manifests say. */
export function hasChanges({ file, artefact }: Trace): boolean {
  const differs = (node: TraceNode): boolean =>
    node.state === 'replaced' || node.problems.length > 0 || node.inputs.some(differs);
  return file?.state === 'changed' || differs(artefact);
}
