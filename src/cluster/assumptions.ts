// Assumptions for simulated campaigns: every number with where it is from, the published ones and those that are only ours.
//
// Does not: simulate (simulate.ts).

export interface Assumption {
  /** A number in the unit of its name, or a time in words: `90s`, `23.6m`, `3h`, `2d`. */
  readonly value: number | string;
  readonly source: string;
}

/** A set of assumptions: settings of a simulation, or what they follow from. */
export interface AssumptionSet {
  readonly about: string;
  readonly settings: Readonly<Record<string, Assumption>>;
  /** Days that were published for what the set describes. */
  readonly published?: { readonly days: number; readonly source: string };
}

const report = 'Apertus report';
const script = 'pretrain-code pretraining/submit_apertus_70b.sh';
const readme = 'Megatron-LM (swiss-ai) README';
const ours = 'our choice: not published';

/** Settings that all campaigns on Alps share here. */
const alps = {
  devicesPerNode: { value: 4, source: 'cscs-docs docs/alps/hardware.md' },
  linkSeconds: { value: '48h', source: `${script}; ${report} 6.3.3` },
  warningSeconds: { value: 600, source: script },
  spares: { value: 64, source: `${ours}; the report (6.3.5) says that spare nodes were kept` },
  repairSeconds: { value: '1d', source: ours },
  queueSeconds: { value: 60, source: `${ours}; a partition of the campaign's own, and a successor that waits already` },
} satisfies Record<string, Assumption>;

/** Apertus 70B as it was run: a failure ends the job, and the next one in the queue begins from the last checkpoint. */
const apertus70b: AssumptionSet = {
  about: 'Apertus 70B, 15T tokens on 4,096 GPUs; a failure ends the job and the next one starts',
  settings: {
    ...alps,
    tokens: { value: 15e12, source: `${report} 2.3` },
    tokensPerSecondPerDevice: { value: 723, source: `${report} 6.3.6, measured on 4,096 GPUs` },
    nodes: { value: 1024, source: script },
    mtbfSeconds: { value: '3h', source: `${report} 6.3.3: a few hours, for the whole job; 3 is our reading` },
    mtbfNodes: { value: 1024, source: 'the nodes of that job' },
    recovery: { value: 'new-job', source: script },
    detectionSeconds: {
      value: 600,
      source: 'Megatron-LM arguments.py: --distributed-timeout-minutes is 10 unless given, and the script gives none',
    },
    startSeconds: {
      value: '53m',
      source:
        'not published: what makes the published 90 days, all else as it stands here. Start of 4,096 tasks, image of 20 GB, NCCL, indices, 920 GB of checkpoint, first steps',
    },
    restartSeconds: { value: '53m', source: 'not used: every start is that of a job' },
    intervalSeconds: { value: 1416, source: `${script}: 250 steps; 16.78M tokens / (723 x 4,096) = 5.67 s a step` },
    stallSeconds: { value: 5, source: `${report} 6.3.3: a few seconds; 5 is our reading` },
    writeSeconds: { value: 40, source: `${readme}: 40 s to write a model of this size, here in the background` },
  },
  published: { days: 90, source: `${report} 6.2: about 90 days on 4,096 GPUs, overheads included` },
};

/** The same training with recovery inside the job. */
const apertus70bInJob: AssumptionSet = {
  about: 'the same with spare nodes in the job, which goes on without the failed one',
  settings: {
    ...apertus70b.settings,
    recovery: { value: 'in-job', source: 'belay campaign link' },
    detectionSeconds: { value: 60, source: 'our choice: heartbeats are late after 30 s, and a node is asked twice' },
    startSeconds: { value: '53m', source: 'as above' },
    restartSeconds: { value: '26m', source: 'our choice: half of a start, since image, indices and nodes are there' },
    spares: { value: 16, source: ours },
  },
};

const measured = 'test/slurm-megatron.test.ts, Slurm 22.05 with 4 nodes on two cores, SlurmdTimeout 3 s, 2026-11-23';

/** Times measured on two cores: small, so that the shape is seen, not the size. */
const belayHere: AssumptionSet = {
  about: 'the chain and the checkpoints of this repository with their times measured on two cores, as if on 64 nodes',
  settings: {
    workSeconds: { value: '10d', source: 'our choice' },
    nodes: { value: 64, source: 'our choice' },
    spares: { value: 2, source: 'our choice' },
    nodeMtbfSeconds: { value: '64d', source: 'our choice: a failure a day' },
    repairSeconds: { value: '1d', source: 'our choice' },
    recovery: { value: 'in-job', source: 'belay campaign link' },
    detectionSeconds: { value: 0, source: 'part of the restart, which was measured with it' },
    restartSeconds: { value: 15, source: `${measured}: a node dies, a spare takes its place, the next step` },
    startSeconds: { value: 15, source: 'our choice: as a restart' },
    intervalSeconds: { value: 'young', source: 'Young and Daly, from stall and failures' },
    stallSeconds: { value: 0.148, source: 'bench/results/checkpoint_epyc-zen4-2c_2026-11-22.md, 97.5M parameters' },
    writeSeconds: { value: 10.6, source: 'the same: from the copy to the commit' },
    linkSeconds: { value: '12h', source: 'cscs-docs docs/clusters/clariden.md: partition normal' },
    warningSeconds: { value: 60, source: 'our choice' },
    queueSeconds: { value: 60, source: 'our choice' },
  },
};

/** The shipped sets by name. */
export const assumptionSets: Readonly<Record<string, AssumptionSet>> = {
  'apertus-70b': apertus70b,
  'apertus-70b-in-job': apertus70bInJob,
  'belay-here': belayHere,
};
