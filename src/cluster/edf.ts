// Environment definition files, with which CSCS's container engine starts containers (srun --environment=FILE): written
// from a site profile, read, put together with what they inherit, and checked before a job waits in the queue for nothing.
//
// Does not: build images (image.ts), or start anything.
import { existsSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { isAbsolute, join } from 'node:path';
import { z } from 'zod';
import { UserError } from '../base/errors.ts';
import { errorText } from '../base/json.ts';
import type { Site } from './site.ts';

type Environment = Readonly<Record<string, string | undefined>>;

const variableName = /^[A-Za-z_]\w*$/;
/** A remote reference, [USER@][REGISTRY#]IMAGE[:TAG][@DIGEST]; a file is recognised by its slash or suffix before this. */
const reference = /^(?:[\w.-]+@)?(?:[\w.:-]+#)?[\w.-]+(?:[/:][\w.-]+)*(?:@sha256:[0-9a-f]{64})?$/;
/** The engine follows no longer chain of files. */
const mostLevels = 10;

const tableSchema: z.ZodType<Annotations> = z.lazy(() => z.record(z.string(), z.union([z.string(), tableSchema])));
interface Annotations {
  readonly [key: string]: string | Annotations;
}

const edfSchema = z.strictObject({
  base_environment: z.union([z.string(), z.array(z.string())]).optional(),
  image: z.string().optional(),
  workdir: z.string().optional(),
  entrypoint: z.boolean().optional(),
  writable: z.boolean().optional(),
  mounts: z.array(z.string()).optional(),
  env: z.record(z.string(), z.string()).optional(),
  annotations: tableSchema.optional(),
});

/** An environment definition. Annotations have their full names: `com.hooks.cxi.enabled`. */
export interface Edf {
  readonly baseEnvironment?: readonly string[];
  /** `[USER@][REGISTRY#]IMAGE[:TAG]`, or the path of a squashfs file. */
  readonly image?: string;
  readonly workdir?: string;
  readonly entrypoint?: boolean;
  readonly writable?: boolean;
  /** `SOURCE:DESTINATION[:FLAGS]`, or one path for both. */
  readonly mounts?: readonly string[];
  /** An empty value unsets the variable. */
  readonly env?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
}

/** Part of smol-toml, which is loaded where a file is read: writing needs no parser. */
interface TomlParser {
  readonly parse: (text: string) => unknown;
}
const library: string = 'smol-toml';

/** Reads the text of a file; `where` names it in messages. */
export async function parseEdf(text: string, where: string): Promise<Edf> {
  const { parse } = (await import(library)) as TomlParser;
  let value: unknown;
  try {
    value = parse(text);
  } catch (cause) {
    throw new UserError(`the environment definition ${where} is no TOML`, { found: errorText(cause), cause });
  }
  const parsed = edfSchema.safeParse(value);
  if (!parsed.success) {
    throw new UserError(`the environment definition ${where} is not valid`, {
      found: z.prettifyError(parsed.error).replaceAll('\n', '\n            '),
      expected: 'image, base_environment, mounts, workdir, entrypoint, writable, [env] and [annotations] of text',
    });
  }
  const { base_environment: base, annotations = {}, env = {}, ...rest } = parsed.data;
  const flat = flatten(annotations, []);
  // A table without rows says nothing.
  return whole({
    ...rest,
    baseEnvironment: typeof base === 'string' ? [base] : base,
    env: Object.keys(env).length > 0 ? env : undefined,
    annotations: flat.length > 0 ? Object.fromEntries(flat) : undefined,
  });
}

/** Nested tables and dotted keys mean the same. */
function flatten(table: Annotations, path: readonly string[]): [string, string][] {
  return Object.entries(table).flatMap(([key, value]): [string, string][] =>
    typeof value === 'string' ? [[[...path, key].join('.'), value]] : flatten(value, [...path, key]),
  );
}

/** Without members that are undefined. */
function whole(edf: { [K in keyof Edf]: Edf[K] | undefined }): Edf {
  return Object.fromEntries(Object.entries(edf).filter(([, value]) => value !== undefined));
}

/** The text of the file; equal definitions give equal bytes. */
export function renderEdf(edf: Edf): string {
  const { baseEnvironment, image, workdir, entrypoint, writable, mounts, env = {}, annotations = {} } = edf;
  const list = (values: readonly string[]): string =>
    values.length === 0 ? '[]' : `[\n${values.map((value) => `    ${quoted(value)},\n`).join('')}]`;
  const lines = [
    ...(baseEnvironment ? [`base_environment = ${list(baseEnvironment)}`] : []),
    ...(image === undefined ? [] : [`image = ${quoted(image)}`]),
    ...(mounts ? [`mounts = ${list(mounts)}`] : []),
    ...(workdir === undefined ? [] : [`workdir = ${quoted(workdir)}`]),
    ...(entrypoint === undefined ? [] : [`entrypoint = ${entrypoint}`]),
    ...(writable === undefined ? [] : [`writable = ${writable}`]),
  ];
  const table = (name: string, values: Readonly<Record<string, string>>, key: (name: string) => string): void => {
    const rows = Object.entries(values).sort(([a], [b]) => (a < b ? -1 : 1));
    if (rows.length > 0) lines.push('', `[${name}]`, ...rows.map(([at, value]) => `${key(at)} = ${quoted(value)}`));
  };
  table('annotations', annotations, (name) => name.split('.').map(bareOrQuoted).join('.'));
  table('env', env, bareOrQuoted);
  return `${lines.join('\n')}\n`;
}

/** A basic string of TOML: as in JSON, where DEL need not be escaped. */
function quoted(text: string): string {
  return JSON.stringify(text).replaceAll('\u007f', '\\u007F');
}

function bareOrQuoted(key: string): string {
  return /^[\w-]+$/.test(key) ? key : quoted(key);
}

/** What is wrong with a definition by itself; empty where nothing is. */
export function edfProblems({ image, mounts = [], workdir, env = {}, annotations = {} }: Edf): string[] {
  const problems: string[] = [];
  if (image !== undefined && image !== '' && !isFile(image) && !reference.test(image)) {
    problems.push(`image "${image}" is neither a path nor [USER@][REGISTRY#]IMAGE[:TAG]`);
  }
  for (const mount of mounts) {
    const [source = '', destination = source, flags, ...more] = partsOf(mount);
    const isPlace = (path: string): boolean => isAbsolute(path) || /^(\$\{|\.\/)/.test(path);
    if (!isPlace(source)) problems.push(`mount "${mount}": the source is no absolute path`);
    else if (!/^(\/|\$\{)/.test(destination)) problems.push(`mount "${mount}": the destination is no absolute path`);
    if (more.length > 0) problems.push(`mount "${mount}": more than SOURCE:DESTINATION:FLAGS`);
    // Not a typing error only: a comma is what other engines take.
    else if (flags !== undefined && !/^\w[\w=-]*(\+\w[\w=-]*)*$/.test(flags)) {
      problems.push(`mount "${mount}": flags are joined by +, e.g. ro+private`);
    }
  }
  const destinations = mounts.map((mount) => partsOf(mount)[1] ?? mount);
  for (const twice of new Set(destinations.filter((one, i) => destinations.indexOf(one) !== i))) {
    problems.push(`two mounts at ${twice}`);
  }
  if (workdir !== undefined && workdir !== '' && !/^(\/|\$\{|\.\/)/.test(workdir)) {
    problems.push(`workdir "${workdir}" is no absolute path`);
  }
  for (const name of Object.keys(env)) {
    if (!variableName.test(name)) problems.push(`env: "${name}" is no name of a variable`);
  }
  for (const name of Object.keys(annotations)) {
    if (name.split('.').some((part) => part === '')) problems.push(`annotations: "${name}" has an empty part`);
  }
  return problems;
}

/** An image that is a file: by its place or by its suffix. */
function isFile(image: string): boolean {
  return /^(\/|\.\/|\$\{)/.test(image) || /\.(sqsh|squashfs)$/.test(image);
}

/** SOURCE, DESTINATION, FLAGS; colons inside ${VAR:-word} do not part them. */
function partsOf(mount: string): string[] {
  return mount.match(/(?:\$\{[^}]*\}|[^:])+/g) ?? [''];
}

/** Replaces ${VAR} and ${VAR:-word}; $${VAR} stands for itself. A variable that is not set is a UserError. */
export function expandVariables(text: string, env: Environment, where: string): string {
  return text.replace(
    /\$(\$\{[^}]*\})|\$\{([A-Za-z_]\w*)(?::-([^}]*))?\}/g,
    (_, literal?: string, name?: string, word?: string) => {
      if (literal !== undefined) return literal;
      const value = env[name as string] ?? word;
      if (value !== undefined) return value;
      throw new UserError(`${where} names a variable that is not set`, {
        found: `\${${name}}`,
        next: `set it, or write \${${name}:-} for nothing`,
      });
    },
  );
}

export interface ResolveOptions {
  readonly env?: Environment;
  /** Instead of files of this machine. */
  readonly read?: (path: string) => string | undefined;
}

/**
 * A definition with everything it inherits: files of `base_environment` in their order, then its own entries. Lists and
 * tables grow, single values are replaced. A name without a slash is looked for in EDF_PATH, else ~/.edf.
 */
export async function resolveEdf(name: string, options: ResolveOptions = {}): Promise<Edf> {
  return await resolveAt(name, options, []);
}

async function resolveAt(name: string, options: ResolveOptions, above: readonly string[]): Promise<Edf> {
  const { env = process.env, read = readIfThere } = options;
  if (above.includes(name) || above.length > mostLevels) {
    throw new UserError(
      `the environment definition ${above[0]} inherits from itself, or over more than ${mostLevels} files`,
      {
        found: [...above, name].join(' -> '),
      },
    );
  }
  const places = placesOf(name, env);
  for (const place of places) {
    const text = read(place);
    if (text === undefined) continue;
    let edf: Edf = {};
    const own = await parseEdf(text, place);
    for (const base of own.baseEnvironment ?? []) edf = over(edf, await resolveAt(base, options, [...above, name]));
    const { baseEnvironment: _, ...rest } = over(edf, own);
    return rest;
  }
  throw new UserError(`there is no environment definition ${name}`, {
    expected: places.join(' or '),
    ...(above.length > 0 ? { found: `inherited by ${above.at(-1)}` } : {}),
  });
}

function over(base: Edf, own: Edf): Edf {
  return whole({
    ...base,
    ...own,
    mounts: base.mounts || own.mounts ? [...(base.mounts ?? []), ...(own.mounts ?? [])] : undefined,
    env: base.env || own.env ? { ...base.env, ...own.env } : undefined,
    annotations: base.annotations || own.annotations ? { ...base.annotations, ...own.annotations } : undefined,
  });
}

function placesOf(name: string, env: Environment): string[] {
  if (name.includes('/')) return [name];
  const folders = (env['EDF_PATH'] ?? join(env['HOME'] ?? homedir(), '.edf')).split(':').filter((dir) => dir !== '');
  return folders.map((dir) => join(dir, name.endsWith('.toml') ? name : `${name}.toml`));
}

function readIfThere(path: string): string | undefined {
  return existsSync(path) ? readFileSync(path, 'utf8') : undefined;
}

/** Whether a definition would start here: variables that are not set, image files and mounts that are not there. */
export function edfProblemsHere(edf: Edf, env: Environment = process.env): string[] {
  const problems = edfProblems(edf);
  const expanded = (text: string, what: string): string | undefined => {
    try {
      return expandVariables(text, env, what);
    } catch (error) {
      problems.push(errorText(error).split('\n').slice(0, 2).join(':').replaceAll(/\s+/g, ' '));
      return undefined;
    }
  };
  const { image, mounts = [], env: variables = {} } = edf;
  const file = image === undefined ? undefined : expanded(image, 'image');
  if (file !== undefined && isAbsolute(file) && !existsSync(file)) problems.push(`the image ${file} is not there`);
  for (const mount of mounts) {
    const source = expanded(partsOf(mount)[0] as string, `mount "${mount}"`);
    if (source !== undefined && isAbsolute(source) && !existsSync(source)) {
      problems.push(`mount "${mount}": ${source} is not there`);
    }
  }
  for (const [name, value] of Object.entries(variables)) expanded(value, `env ${name}`);
  if (image === undefined || image === '') problems.push('no image: the command would run outside of a container');
  return problems;
}

export interface SiteEdf {
  readonly image: string;
  /** Beside those of the site. */
  readonly mounts?: readonly string[];
  readonly workdir?: string;
  readonly env?: Readonly<Record<string, string>>;
}

/** The definition for a campaign at a site. A UserError where what is asked for is not valid. */
export function siteEdf(site: Site, { image, mounts = [], workdir, env = {} }: SiteEdf): Edf {
  const { container } = site;
  if (container.engine !== 'edf') {
    throw new UserError(`the site ${site.name} starts no containers by environment definition files`, {
      found: `container engine ${container.engine}`,
    });
  }
  const edf = whole({
    image,
    mounts: [...new Set([...container.mounts, ...mounts])],
    workdir,
    writable: true,
    annotations: container.annotations,
    env,
  });
  const problems = edfProblems(edf);
  if (problems.length > 0) {
    throw new UserError('no environment definition can be made of this', { found: problems.join('\n            ') });
  }
  return edf;
}
