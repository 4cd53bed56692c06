// Megatron-LM as an engine of campaigns: phases follow each other by what is on the disk, with nobody editing a script.
//
// Megatron leaves with 0 whatever made it stop: the warning, a trigger, the end of a phase or of the run. So its files
// answer instead: the newest whole checkpoint says which phase is next, and a trigger `exit` that stands there and was not
// made at the end of a run was made by somebody. That trigger does not save (training.py), so asking to stop asks to
// save as well.
//
// Does not: word the launch (megatron-launch.ts); fence: a rank that was cut off and comes back may still write.
import { join } from 'node:path/posix';
import { UserError } from '../base/errors.ts';
import {
  type CleanUp,
  clearForStart,
  type Engine,
  endText,
  type Progress,
  type StepCommand,
  type StepEnd,
  type StepPlace,
  type StepVerdict,
} from './engine.ts';
import {
  copyCodeScript,
  type MegatronPhasePlan,
  type MegatronPlan,
  provenanceScript,
  taskScript,
  wandbScript,
} from './megatron-launch.ts';
import type { Site } from './site.ts';
import { clearTriggers, isTriggered, pullTriggers } from './triggers.ts';
import { megatronCheckpoints, removeUnfinished } from './unfinished.ts';

/** Codes of Megatron's rerun state machine (rerun_state_machine.py). */
const rerunCodes = { disambiguate: 16, wrongResult: 17 } as const;

/** Megatron-LM, on a plan. */
export function megatronEngine(plan: MegatronPlan, site: Site): Engine {
  const { phases } = plan;
  if (phases.length === 0) throw new Error('megatronEngine: a plan without phases');
  const total = runsOf(phases).reduce((sum, { steps }) => sum + steps, 0);
  const current = (): MegatronPhasePlan => {
    const { phase } = place(phases);
    if (!phase) throw new Error(`megatronEngine: ${plan.name} is trained to the end`);
    return phase;
  };
  /** Asked by this controller; at the end of a run a trigger alone would not tell whose it is. */
  let stopAsked = false;
  return {
    name: 'megatron',
    progress(): Progress {
      const { phase, step } = place(phases);
      return { step, total, phase: phase?.name ?? null, isFinished: phase === null };
    },
    nodeCounts(most) {
      const { phase } = place(phases);
      return phase ? nodeCountsOf(phase, plan.devicesPerNode, most) : [];
    },
    ask(what) {
      if (what === 'stop') stopAsked = true;
      // Both are read in one look, `save` first; the other order could stop without saving.
      pullTriggers(plan.run, what === 'save' ? ['save'] : ['save', 'exit']);
    },
    prepare(): CleanUp {
      const { phase } = place(phases);
      if (!phase) return { stopAsked: false, unfinished: [] };
      const checkpoints = join(phase.run, 'checkpoints');
      const found = megatronCheckpoints(checkpoints);
      removeUnfinished(checkpoints, found);
      return { stopAsked: clearForStart(plan.run), unfinished: found.unfinished };
    },
    step(at: StepPlace): StepCommand {
      const phase = current();
      const counts = nodeCountsOf(phase, at.tasksPerNode, at.nodes.length);
      if (counts[0] !== at.nodes.length) {
        throw new UserError(`Megatron cannot train phase ${phase.name} on ${at.nodes.length} nodes`, {
          found: `${at.nodes.length * at.tasksPerNode} devices, replicas of ${phase.replica}, batches of ${phase.batchSizes.join(' and ')}`,
          expected: counts[0] === undefined ? 'more nodes' : `${counts.slice(0, 3).join(', ')} nodes`,
        });
      }
      const isBegin = phase.begin !== null && iterationOf(phase.run) === 0;
      const script = (name: string): string => join(at.folder, name);
      const before = [
        ...(plan.copyCode ? [{ name: 'copy-code.sh', text: copyCodeScript(plan), what: 'copy the code' }] : []),
        { name: 'provenance.sh', text: provenanceScript(plan, at), what: 'write down what runs' },
        ...(plan.wandb
          ? [{ name: 'wandb.sh', text: wandbScript(plan, phase, at), what: 'send the run before to W&B' }]
          : []),
      ];
      return {
        files: [
          { name: 'task.sh', text: taskScript(plan, site, phase, at, isBegin) },
          ...before.map(({ name, text }) => ({ name, text })),
        ],
        before: before.map(({ name, what }) => ({ what, argv: ['bash', script(name)] })),
        srun: [
          ...(site.node.cpusPerTask === null ? [] : [`--cpus-per-task=${site.node.cpusPerTask}`]),
          ...(plan.edf === null ? [] : [`--environment=${plan.edf}`]),
          '--kill-on-bad-exit=1',
          '--label',
          '--unbuffered',
        ],
        argv: ['bash', script('task.sh')],
      };
    },
    verdict({ exit, signal, before }: StepEnd): StepVerdict {
      const after = place(phases);
      const phase = phases.find(({ name }) => name === before.phase) ?? (phases.at(-1) as MegatronPhasePlan);
      const exitAsked = isTriggered(plan.run, 'exit');
      const text = endText({ exit, signal });
      if (signal === null && exit === 0) {
        clearTriggers(plan.run, ['exit']);
        if (after.phase === null) return { outcome: 'finished', why: 'trained to the end' };
        // At the end of a run Megatron makes the trigger itself; at the end of any other phase somebody did.
        const isStopped = stopAsked || (exitAsked && after.phase.run === phase.run);
        if (after.phase.name !== phase.name && !isStopped) {
          return { outcome: 'next-phase', why: `phase ${phase.name} is over; next: ${after.phase.name}` };
        }
        if (isStopped) return { outcome: 'stopped', why: 'left: it was asked to stop' };
        return { outcome: 'paused', why: `saved and left at step ${after.step}` };
      }
      if (signal === null && exit === rerunCodes.disambiguate) {
        return { outcome: 'paused', why: 'saved and left to find out whether a result can be repeated' };
      }
      if (signal === null && exit === rerunCodes.wrongResult) {
        return { outcome: 'failed', why: `a result could not be repeated (${text}): a device computes wrongly` };
      }
      if (exitAsked) {
        // An assertion while it was set up; the fork stops the chain so that it does not crash for ever.
        clearTriggers(plan.run, ['exit']);
        return { outcome: 'mistake', why: `${text}, and it asked for the chain to end: see the log for the assertion` };
      }
      return { outcome: 'failed', why: text };
    },
  };
}

/** The phase to train next (null: none is left) and the steps done over all runs. */
function place(phases: readonly MegatronPhasePlan[]): { phase: MegatronPhasePlan | null; step: number } {
  let before = 0;
  const runs = runsOf(phases).map(({ run, steps }) => {
    const at = { run, iteration: iterationOf(run), before };
    before += steps;
    return at;
  });
  // The last run that was begun: those before it may have been cleared away.
  const last = runs.findLast(({ iteration }) => iteration > 0) ?? runs[0];
  if (!last) return { phase: null, step: 0 };
  const index = phases.findIndex(({ run, to }) => run === last.run && last.iteration < to);
  const after = phases.findLastIndex(({ run }) => run === last.run) + 1;
  return { phase: phases[index === -1 ? after : index] ?? null, step: last.before + last.iteration };
}

/** Runs in order, and their steps. */
function runsOf(phases: readonly MegatronPhasePlan[]): { run: string; steps: number }[] {
  const steps = new Map<string, number>();
  for (const { run, to } of phases) steps.set(run, Math.max(steps.get(run) ?? 0, to));
  return [...steps].map(([run, last]) => ({ run, steps: last }));
}

const iterationOf = (run: string): number => megatronCheckpoints(join(run, 'checkpoints')).whole.at(-1) ?? 0;

/** Numbers of nodes whose devices are whole replicas that share out every batch of the phase evenly. */
export function nodeCountsOf(
  { replica, microBatchSize, batchSizes }: Pick<MegatronPhasePlan, 'replica' | 'microBatchSize' | 'batchSizes'>,
  devicesPerNode: number,
  most: number,
): number[] {
  const counts: number[] = [];
  for (let nodes = most; nodes >= 1; nodes--) {
    const devices = nodes * devicesPerNode;
    const atOnce = (devices / replica) * microBatchSize;
    if (devices % replica === 0 && batchSizes.every((size) => size % atOnce === 0)) counts.push(nodes);
  }
  return counts;
}
