// The launch of Megatron-LM: the script that every task runs, and the one that writes down what ran.
//
// Both are rendered for one start of one phase and lie in that start's folder, so what ran can be read there. The chain
// around them (successor, warning, triggers, cleaning) is the campaign's own and the same for every engine. What Apertus'
// launch scripts do, line by line, and where it is here: docs/megatron.md, "The launch".
//
// Does not: choose nodes or phases (engine-megatron.ts); word arguments of the training (megatron.ts).
import { join } from 'node:path/posix';
import { argumentsText, type MegatronArgument } from './megatron.ts';
import { environmentOf, type Site } from './site.ts';
import { jitCacheLines } from './storage.ts';

/** One phase of the curriculum as Megatron runs it. */
export interface MegatronPhasePlan {
  readonly name: string;
  /** Checkpoints and logs of the Megatron run that it is part of. */
  readonly run: string;
  /** The first step and the one after the last, as that run counts. */
  readonly from: number;
  readonly to: number;
  /** Arguments of the first start, where that begins with other weights; null: the run's own. */
  readonly begin: readonly MegatronArgument[] | null;
  readonly arguments: readonly MegatronArgument[];
  /** Devices of one replica, sequences of one pass of a replica, and the batches in use in this phase. */
  readonly replica: number;
  readonly microBatchSize: number;
  readonly batchSizes: readonly number[];
}

/** A whole training by Megatron, as the campaign's spec holds it: plain data. */
export interface MegatronPlan {
  readonly name: string;
  /** The folder of the training: triggers for all phases, and the copy of the code. */
  readonly run: string;
  readonly phases: readonly MegatronPhasePlan[];
  /** The folder of Megatron-LM. */
  readonly code: string;
  /** Run from a copy in the run folder that the first start makes, so that later links run the same code. */
  readonly copyCode: boolean;
  readonly python: string;
  /** The EDF that tasks run in; null: no container. */
  readonly edf: string | null;
  readonly devicesPerNode: number;
  /** Threads of a task; null: Slurm's cores per task. */
  readonly threads: number | null;
  /** Work-arounds of the site's profile by name. */
  readonly workarounds: readonly string[];
  /** Variables over those of the site. */
  readonly environment: Readonly<Record<string, string>>;
  /** Runs are written offline; each start sends the one before, where WANDB_API_KEY is set. Null: none. */
  readonly wandb: { readonly project: string } | null;
  /** NCCL's log of every rank, in a file each. */
  readonly ncclLog: boolean;
  /** Traces of Nsight Systems, as --profile-step-start and --profile-step-end in megatron.arguments say. */
  readonly nsys: boolean;
}

/** What one start needs to know beyond the plan. */
export interface LaunchPlace {
  readonly nodes: readonly string[];
  readonly tasksPerNode: number;
  readonly folder: string;
  readonly job: string;
  readonly index: number;
}

/** A word of a shell, quoted where it must be. */
export function quoted(value: string): string {
  return /^[\w@%+=:,./-]+$/.test(value) ? value : `'${value.replaceAll("'", "'\\''")}'`;
}

/** Where the code is that runs. */
export function codeFolder(plan: MegatronPlan): string {
  return plan.copyCode ? join(plan.run, 'code') : plan.code;
}

/** Where a run logs. */
export const loggingFolder = (run: string): string => join(run, 'logging');

/** The script of one task: environment of the rank, caches of its own, and the training. */
export function taskScript(
  plan: MegatronPlan,
  site: Site,
  phase: MegatronPhasePlan,
  place: LaunchPlace,
  isBegin: boolean,
): string {
  const { nodes, tasksPerNode, folder, job, index } = place;
  const code = codeFolder(plan);
  const variables = [
    ...environmentOf(site, plan.workarounds).filter(({ name }) => !Object.hasOwn(plan.environment, name)),
    ...Object.entries(plan.environment).map(([name, value]) => ({ name, value })),
  ];
  const caches = join(site.container.scratch, 'belay-jit', plan.name);
  const own = `${job}.${index}`;
  const jit = jitCacheLines(join(caches, own));
  const list: MegatronArgument[] = [...((isBegin ? phase.begin : null) ?? phase.arguments)];
  if (plan.wandb) {
    const wandb: [string, string][] = [
      ['--wandb-save-dir', loggingFolder(phase.run)],
      ['--wandb-project', plan.wandb.project],
      ['--wandb-exp-name', `${plan.name}-${job}`],
    ];
    list.push(...wandb.map(([flag, value]) => ({ flag, values: [value], from: 'launch' })));
  }
  if (plan.nsys) list.push({ flag: '--profile', values: [], from: 'launch' });
  const nsys = `nsys profile -s none --trace=nvtx,cudnn,cublas,cuda --force-overwrite true --capture-range=cudaProfilerApi --capture-range-end=stop --output=${quoted(folder)}/nsys-$(hostname)-$SLURM_PROCID`;
  const command = [
    ...(plan.nsys ? [nsys] : []),
    ...site.node.prefix.map(quoted),
    quoted(plan.python),
    quoted(join(code, 'pretrain_gpt.py')),
  ].join(' ');
  const continued = argumentsText(list)
    .trimEnd()
    .split('\n')
    .map((line) => `  ${line}`)
    .join(' \\\n');
  return `#!/bin/bash
# One task of Megatron-LM: phase ${phase.name} of ${plan.name}, start ${index} of job ${job}, on ${nodes.length} nodes.
ulimit -c 0
# Slurm signals this shell, not the training. Before there is one, nothing needs to be saved.
training=
trap '[ -n "$training" ] || exit 0; kill -USR2 $training 2> /dev/null' USR2
trap '[ -n "$training" ] || exit 0; kill -TERM $training 2> /dev/null' TERM

# Where this rank is among ${nodes.length * tasksPerNode}.
export RANK=$SLURM_PROCID LOCAL_RANK=$SLURM_LOCALID WORLD_SIZE=${nodes.length * tasksPerNode}
export MASTER_ADDR=${quoted(nodes[0] as string)} MASTER_PORT=${rendezvousPort(site, index)}
export OMP_NUM_THREADS=${plan.threads ?? `\${SLURM_CPUS_PER_TASK:-1}`}
export PYTHONPATH=${quoted(code)}
export WANDB_MODE=${plan.wandb ? 'offline' : 'disabled'}

# Environment of the site ${site.name}${plan.workarounds.length > 0 ? ` with ${plan.workarounds.join(', ')}` : ''}.
${variables.map(({ name, value }) => `export ${name}=${quoted(value)}`).join('\n')}
${plan.ncclLog ? `export NCCL_DEBUG=INFO NCCL_DEBUG_FILE=${quoted(folder)}/nccl-%h-$SLURM_PROCID.txt\n` : ''}
# Compilers' caches of this rank alone, in memory or on the node; those of starts that were killed go first.
caches=${quoted(caches)} own=${quoted(own)}
if [ "$SLURM_LOCALID" = 0 ]; then
  for old in "$caches"/*; do [ "$old" = "$caches/$own" ] || rm -rf "$old"; done
fi
${jit.before.join('\n')}

cd ${quoted(code)} || exit 1
${command} \\
${continued} &
training=$!

# A signal ends the waiting, not the training.
wait $training
code=$?
while kill -0 $training 2> /dev/null; do
  wait $training
  code=$?
done
${jit.after.join('\n')}
exit $code
`;
}

/** A port that a rank of the start before, still dying, does not hold. */
function rendezvousPort(site: Site, index: number): number {
  return site.rendezvousPort + (index % 100);
}

/** Names of variables whose values are nobody's business; the case does not matter. */
export const secretNames =
  '*KEY*|*TOKEN*|*SECRET*|*PASSWORD*|*PASSWD*|*CREDENTIAL*|*AUTH*|*COOKIE*|*JWT*|*_PAT|*PRIVATE*|*SESSION*';

/** The script that writes down what runs: it goes on whatever fails, and prints no secrets. */
export function provenanceScript(plan: MegatronPlan, place: LaunchPlace): string {
  const { nodes, folder } = place;
  const code = codeFolder(plan);
  const inContainer = plan.edf === null ? '' : ` --environment=${quoted(plan.edf)}`;
  const python = quoted(plan.python);
  return `#!/bin/bash
# Writes down what this start runs, before it runs. Nothing here can stop it.
cd ${quoted(folder)} || exit 0
mkdir -p provenance
exec 2> provenance/errors.txt

printf '%s\\n' ${nodes.map(quoted).join(' ')} > provenance/nodes.txt
scontrol show job ${quoted(place.job)} > provenance/job.txt
scontrol write batch_script ${quoted(place.job)} - > provenance/batch-script.sh
cp task.sh provenance/task.sh
${plan.edf === null ? '' : `cp ${quoted(plan.edf)} provenance/environment.toml\n`}
# The code: its commit, and what was changed since.
if [ -e ${quoted(join(code, 'COMMIT'))} ]; then
  cp ${quoted(join(code, 'COMMIT'))} provenance/commit.txt
else
  git -C ${quoted(plan.code)} rev-parse --verify HEAD > provenance/commit.txt
  git -C ${quoted(plan.code)} diff HEAD -- . > provenance/changes.diff
fi

# Packages and driver as the tasks see them, then the memory of every device.
timeout 300 srun -N1 -n1 -w ${quoted(nodes[0] as string)}${inContainer} bash -c ${quoted(`${python} -m pip list; nvidia-smi`)} > provenance/packages.txt
timeout 300 srun -N${nodes.length} --ntasks-per-node=1 -w ${nodes.map(quoted).join(',')} bash -c 'echo $(hostname) $(nvidia-smi --query-gpu=memory.used,memory.total --format=csv,noheader)' > provenance/device-memory.txt

# The environment, but no secrets: neither variables that are called so nor addresses with passwords.
shopt -s nocasematch
for name in $(compgen -e | LC_ALL=C sort); do
  case $name in
    ${secretNames}) printf '%s=(left out)\\n' "$name" ;;
    *)
      value=\${!name}
      if [[ $value == *://*:*@* ]]; then printf '%s=(left out)\\n' "$name"; else printf '%s=%q\\n' "$name" "$value"; fi
      ;;
  esac
done > provenance/environment.txt
exit 0
`;
}

/** The script that copies Megatron's code into the run folder, once; whole or not at all. */
export function copyCodeScript(plan: MegatronPlan): string {
  const target = quoted(codeFolder(plan));
  const source = quoted(plan.code);
  return `#!/bin/bash
# Copies the code, so that every link of the chain runs the same.
[ -e ${target} ] && exit 0
mkdir -p ${quoted(plan.run)} && rm -rf ${target}.partial && cp -a ${source} ${target}.partial || exit 1
find ${target}.partial -name __pycache__ -type d -prune -exec rm -rf {} +
if git -C ${source} rev-parse --verify HEAD > ${target}.partial/COMMIT; then
  git -C ${source} diff HEAD -- . > ${target}.partial/CHANGES.diff
else
  echo 'not a git repository' > ${target}.partial/COMMIT
fi
rm -rf ${target}.partial/.git
mv ${target}.partial ${target}
`;
}

/** The script that sends the run before this one to Weights & Biases. */
export function wandbScript(plan: MegatronPlan, phase: MegatronPhasePlan, place: LaunchPlace): string {
  const latest = quoted(join(loggingFolder(phase.run), 'wandb', 'latest-run'));
  const inContainer = plan.edf === null ? '' : ` --environment=${quoted(plan.edf)}`;
  return `#!/bin/bash
# Sends the offline run of the start before this one.
[ -e ${latest} ] || { echo 'no run before this one'; exit 0; }
[ -n "$WANDB_API_KEY" ] || { echo 'not sent: WANDB_API_KEY is not set; wandb sync ${latest.replaceAll("'", '')} does it later'; exit 0; }
timeout 600 srun -N1 -n1 -w ${quoted(place.nodes[0] as string)}${inContainer} wandb sync ${latest}
`;
}
