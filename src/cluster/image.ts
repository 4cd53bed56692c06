// Container images as they can be made again: a Containerfile and a manifest of what the image holds, from one description.
//
// Whatever changes an image is in its id: the base by its digest, packages by their versions, files by their hashes. The
// id is the tag and the name of the squashfs file, so another description is another image, and an equal one is there already.
// The manifest lies in the image too, with which an image that was found can be compared.
//
// Does not: build (podman and enroot do; it says the commands), or know what versions exist.
import { z } from 'zod';
import { UserError } from '../base/errors.ts';
import { hashFile, hashJson, sha256 } from '../base/hashing.ts';

export const imageManifestKind = 'belay-image-1';

const packages = z.record(z.string().regex(/^[A-Za-z0-9][\w.+-]*$/, 'a name of a package'), z.string());
const digest = /^sha256:[0-9a-f]{64}$/;

export const imageSpecSchema = z.strictObject({
  name: z.string().regex(/^[a-z0-9][a-z0-9._-]*$/, 'lower-case letters, digits, dots, dashes'),
  /** The image it is built on. A tag may be moved to other bytes; its digest may not. */
  base: z.strictObject({ reference: z.string().min(1), digest: z.string().regex(digest, 'sha256: and 64 digits') }),
  /** Packages of the system and of Python: name -> exact version. */
  apt: packages.default({}),
  /** Where Debian and Ubuntu keep the packages of a day: without it a version is gone once there is a newer one. */
  aptSnapshot: z.url().nullable().default(null),
  pip: packages.default({}),
  /** Files put into the image: place in it -> path in the folder of the build. */
  files: z.record(z.string().startsWith('/'), z.string().min(1)).default({}),
  /** `$PATH` and the like stand for what the base sets. */
  env: z
    .record(z.string().regex(/^[A-Za-z_]\w*$/, 'a name of a variable'), z.string().regex(/^[^\p{Cc}]*$/u, 'one line'))
    .default({}),
  /** Commands after everything else, e.g. npm ci of what was copied. */
  run: z.array(z.string().regex(/^[^\n]+$/, 'one line each')).default([]),
  workdir: z.string().startsWith('/').nullable().default(null),
  /** Time stamp of all files, seconds since 1970: equal builds have equal bytes. */
  epoch: z.int().min(0).default(0),
});

export type ImageSpec = z.output<typeof imageSpecSchema>;
export type ImageSpecInput = z.input<typeof imageSpecSchema>;

export interface ImageManifest {
  readonly kind: typeof imageManifestKind;
  /** Hash of everything below: equal ids, equal images. */
  readonly id: string;
  readonly name: string;
  readonly base: ImageSpec['base'];
  readonly apt: Readonly<Record<string, string>>;
  readonly pip: Readonly<Record<string, string>>;
  readonly files: readonly { readonly path: string; readonly sha256: string; readonly bytes: number }[];
  readonly env: Readonly<Record<string, string>>;
  /** Of the Containerfile. */
  readonly containerfile: string;
  readonly epoch: number;
}

export interface ImagePlan {
  readonly manifest: ImageManifest;
  /** For the folder of the build, beside the files: Containerfile and image-manifest.json. */
  readonly containerfile: string;
  readonly manifestText: string;
  /** name:ID */
  readonly tag: string;
  /** name-ID.sqsh */
  readonly squashfs: string;
  /** What to type in the folder of the build. */
  readonly commands: readonly string[];
}

/** Where the manifest lies in the image. */
export const manifestPlace = '/usr/share/belay/image-manifest.json';

/** Version ranges and words such as `latest` make another image tomorrow. */
const exact = { apt: /^[0-9][\w.+:~-]*$/, pip: /^[0-9][\w.!+]*$/ } as const;

/** Checks a description and plans its build. `context`: folder that its files are in. */
export function planImage(input: ImageSpecInput, context: string): ImagePlan {
  const parsed = imageSpecSchema.safeParse(input);
  if (!parsed.success) {
    throw new UserError('the description of the image is not valid', {
      found: z.prettifyError(parsed.error).replaceAll('\n', '\n            '),
    });
  }
  const spec = parsed.data;
  const loose = (['apt', 'pip'] as const).flatMap((kind) =>
    Object.entries(spec[kind]).flatMap(([name, version]) => (exact[kind].test(version) ? [] : [`${name} ${version}`])),
  );
  if (loose.length > 0) {
    throw new UserError('an image that can be made again needs exact versions', {
      found: loose.join(', '),
      expected: 'a version without a range, e.g. 0.19.5',
    });
  }
  const files = Object.entries(spec.files)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([path, from]) => ({ path, from, ...hashIn(context, from) }));
  const containerfile = containerfileOf(spec);
  const content = {
    kind: imageManifestKind,
    name: spec.name,
    base: spec.base,
    apt: sorted(spec.apt),
    pip: sorted(spec.pip),
    files: files.map(({ path, sha256: hash, bytes }) => ({ path, sha256: hash, bytes })),
    env: sorted(spec.env),
    containerfile: sha256(containerfile),
    epoch: spec.epoch,
  } as const;
  const manifest: ImageManifest = { ...content, id: hashJson(content) };
  const short = manifest.id.slice(0, 12);
  const [tag, squashfs] = [`${spec.name}:${short}`, `${spec.name}-${short}.sqsh`];
  return {
    manifest,
    containerfile,
    manifestText: `${JSON.stringify(manifest, null, 2)}\n`,
    tag,
    squashfs,
    commands: [
      `podman build --timestamp ${spec.epoch} -f Containerfile -t ${tag} .`,
      `enroot import -x mount -o ${squashfs} podman://${tag}`,
    ],
  };
}

function hashIn(context: string, from: string): { readonly sha256: string; readonly bytes: number } {
  if (from.startsWith('/') || from.split('/').includes('..')) {
    throw new UserError(`${from} is not in the folder of the build`, {
      expected: `a path below ${context}`,
      next: 'podman sees that folder only; copy the file there',
    });
  }
  try {
    return hashFile(`${context}/${from}`);
  } catch (cause) {
    throw new UserError(`${from} cannot be put into the image`, {
      found: cause instanceof Error ? cause.message : String(cause),
      expected: 'a file',
      cause,
    });
  }
}

function sorted(values: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(values).sort(([a], [b]) => (a < b ? -1 : 1)));
}

function containerfileOf(spec: ImageSpec): string {
  const { base, apt, aptSnapshot, pip, files, env, run, workdir, epoch } = spec;
  const pinned = (values: Readonly<Record<string, string>>, by: string): string =>
    Object.entries(sorted(values))
      .map(([name, version]) => ` \\\n      ${name}${by}${version}`)
      .join('');
  const steps: string[] = [
    `FROM ${base.reference}@${base.digest}`,
    // What compilers and archives write down as the time.
    `ENV SOURCE_DATE_EPOCH=${epoch}`,
    ...Object.entries(sorted(env)).map(([name, value]) => `ENV ${name}=${JSON.stringify(value)}`),
  ];
  if (Object.keys(apt).length > 0) {
    const sources =
      aptSnapshot === null
        ? ''
        : `echo 'deb [check-valid-until=no] ${aptSnapshot} '"$(. /etc/os-release && echo "$VERSION_CODENAME")"' main' > /etc/apt/sources.list && \\\n    rm -f /etc/apt/sources.list.d/*.sources && \\\n    `;
    steps.push(
      `RUN ${sources}apt-get update && \\\n    apt-get install -y --no-install-recommends${pinned(apt, '=')} && \\\n    rm -rf /var/lib/apt/lists/* /var/log/apt /var/log/dpkg.log /var/cache/ldconfig/aux-cache`,
    );
  }
  if (Object.keys(pip).length > 0) {
    // What they depend on must be in the base or in the list: a resolver's choice is another one tomorrow.
    steps.push(`RUN pip install --no-cache-dir --no-compile --no-deps${pinned(pip, '==')} && \\\n    pip check`);
  }
  for (const [place, from] of Object.entries(sorted(files))) steps.push(`COPY ${JSON.stringify([from, place])}`);
  for (const line of run) steps.push(`RUN ${line}`);
  steps.push(`COPY image-manifest.json ${manifestPlace}`);
  if (workdir !== null) steps.push(`WORKDIR ${workdir}`);
  return `${steps.join('\n')}\n`;
}

/** What an image says it has: outputs of `dpkg-query -W` and `pip freeze` in it. */
export interface InstalledPackages {
  readonly apt?: string;
  readonly pip?: string;
}

/** Where a running image differs from a manifest; empty where it does not. */
export function imageDifferences(manifest: ImageManifest, installed: InstalledPackages): string[] {
  return (['apt', 'pip'] as const).flatMap((kind) => {
    const text = installed[kind];
    if (text === undefined) return [];
    const found = versionsIn(text, kind);
    return Object.entries(manifest[kind]).flatMap(([name, version]) => {
      const there = found.get(plain(name, kind));
      if (there === version) return [];
      return [`${kind}: ${name} is ${there ?? 'not there'}, the manifest says ${version}`];
    });
  });
}

function versionsIn(text: string, kind: 'apt' | 'pip'): Map<string, string> {
  const versions = new Map<string, string>();
  for (const line of text.split('\n')) {
    const [name = '', version] = line.trim().split(kind === 'apt' ? /\s+/ : '==', 2);
    // Packages of other architectures have it behind a colon.
    if (version !== undefined) versions.set(plain(name.split(':')[0] as string, kind), version);
  }
  return versions;
}

/** Python takes names that differ in case and kind of dash as the same. */
function plain(name: string, kind: 'apt' | 'pip'): string {
  return kind === 'pip' ? name.toLowerCase().replaceAll(/[-_.]+/g, '-') : name;
}
