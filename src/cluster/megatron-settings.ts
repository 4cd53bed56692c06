// What a campaign with Megatron says beyond its recipe and its site: where the code and the data are, and what to log.
//
// Does not: plan phases (commands/megatron-plan.ts) or look whether anything is there.
import { resolve } from 'node:path';
import { z } from 'zod';

const path = z.string().min(1);

export const megatronSettingsSchema = z.strictObject({
  /** Folder of Megatron-LM. */
  code: path,
  /** Run from a copy in the run folder that the first start makes, so that later links run the same code. */
  copyCode: z.boolean().default(false),
  python: z.string().min(1).default('python3'),
  /** The EDF that tasks run in; null: no container. */
  edf: path.nullable().default(null),
  /** Folder of the token files of the recipe's own groups (belay's stage `tokens`); null: `tokens` of the run. */
  tokens: path.nullable().default(null),
  /** Folder of names in mixtures that are neither groups of the recipe nor paths; null: they are prefixes as they stand. */
  dataRoot: path.nullable().default(null),
  /** Folder of Megatron's sample indices, on flash; null: `cache` of the training. */
  cache: path.nullable().default(null),
  /** Checkpoints that the first phase begins with, without their optimizer. */
  start: path.nullable().default(null),
  /** Threads of a task; null: the cores it has. */
  threads: z.int().min(1).nullable().default(null),
  /** Project of Weights & Biases: runs are written offline, and sent by the next start where WANDB_API_KEY is set. */
  wandbProject: z.string().min(1).nullable().default(null),
  /** NCCL's log of every rank, in a file each. */
  ncclLog: z.boolean().default(false),
  /** Traces by Nsight Systems; Megatron then does not save on the warning. */
  nsys: z.boolean().default(false),
});

export type MegatronSettings = z.output<typeof megatronSettingsSchema>;
export type MegatronSettingsInput = z.input<typeof megatronSettingsSchema>;

/** The same with paths that do not depend on where a link is started. */
export function absoluteSettings(settings: MegatronSettings, from: string): MegatronSettings {
  const paths = ['code', 'edf', 'tokens', 'dataRoot', 'cache', 'start'] as const;
  const resolved = paths.map((name) => [name, settings[name] === null ? null : resolve(from, settings[name])]);
  return { ...settings, ...(Object.fromEntries(resolved) as Partial<MegatronSettings>) };
}
