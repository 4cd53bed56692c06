// Campaigns on paper, swept: goodput against failures, spares, checkpoint interval and size, and what makes the published
// 90 days of Apertus 70B. A simulation, not a measurement: its numbers follow from the assumptions it prints.
//
//   node dist/bench/scale.js [--runs 20] [--save scale-simulated_<date>]
//
// Does not: measure anything.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { packageRoot } from '../src/base/version.ts';
import {
  type Sweep,
  type SimulatedCampaign,
  simulateCampaign,
  simulationSvg,
  simulationText,
} from '../src/commands/campaign-simulate.ts';

const { values } = parseArgs({ options: { runs: { type: 'string', default: '20' }, save: { type: 'string' } } });
const runs = Number(values.runs);
const began = performance.now();
const sweep = (name: string, ...values: (string | number)[]): Sweep => ({ name, values });

/** What is swept, and the question it answers. */
const questions: readonly {
  readonly title: string;
  readonly text: string;
  readonly assume: string;
  readonly set?: Record<string, string>;
  readonly sweep: readonly Sweep[];
  readonly isDrawn: boolean;
}[] = [
  {
    title: 'What makes 90 days',
    text: 'Days of Apertus 70B by how long a job takes to its first step and how often it fails.',
    assume: 'apertus-70b',
    sweep: [
      sweep('startSeconds', '5m', '15m', '30m', '45m', '53m', '60m', '75m'),
      sweep('mtbfSeconds', '2h', '3h', '4h', '6h'),
    ],
    isDrawn: false,
  },
  {
    title: 'The same at 600 tokens a second and GPU',
    text: 'The rate that figure 11 of the report shows in May 2025, on 2,048 GPUs.',
    assume: 'apertus-70b',
    set: { tokensPerSecondPerDevice: '600' },
    sweep: [sweep('startSeconds', '5m', '15m', '30m', '45m'), sweep('mtbfSeconds', '3h', '4h', '6h')],
    isDrawn: false,
  },
  {
    title: 'MTBF of the job, and how it recovers',
    text: 'A new job for each failure, or the same job with spare nodes in it.',
    assume: 'apertus-70b-in-job',
    sweep: [sweep('mtbfSeconds', '1h', '2h', '3h', '6h', '12h', '24h'), sweep('recovery', 'new-job', 'in-job')],
    isDrawn: true,
  },
  {
    title: 'Spares in the job',
    text: 'Nodes beyond the 1,024 that train, held in every link of 48 h.',
    assume: 'apertus-70b-in-job',
    sweep: [sweep('spares', 0, 4, 8, 16, 32, 64), sweep('mtbfSeconds', '3h', '6h', '12h')],
    isDrawn: true,
  },
  {
    title: 'Checkpoint interval',
    text: 'Work between two saves; a save stops training for 5 s. Young and Daly: 5.4 min at 3 h, 30 s of stall: 13 min.',
    assume: 'apertus-70b-in-job',
    sweep: [
      sweep('intervalSeconds', '1m', '2m', '5m', '10m', '23.6m', '60m', '120m'),
      sweep('stallSeconds', 1, 5, 30, 120),
    ],
    isDrawn: true,
  },
  {
    title: 'Nodes up to 10,000',
    text: 'Every node fails as often as in a job of 1,024 that fails every 3 h; ten days of work at every size; 2 % spares.',
    assume: 'apertus-70b-in-job',
    set: { workSeconds: '10d' },
    sweep: [sweep('nodes', 256, 512, 1024, 2048, 4096, 10_000), sweep('restartSeconds', '2m', '10m', '26m')],
    isDrawn: true,
  },
  {
    title: 'Lives that are not exponential',
    text: 'Weibull lives of the same mean: below 1 a node that was repaired is more likely to fail again soon.',
    assume: 'apertus-70b-in-job',
    sweep: [sweep('weibullShape', 0.5, 0.7, 1, 1.5, 3)],
    isDrawn: false,
  },
];

const campaigns = questions.map(
  (question): { readonly question: (typeof questions)[number]; readonly campaign: SimulatedCampaign } => {
    const { assume, set = {}, sweep: sweeps } = question;
    const isSized = sweeps[0]?.name === 'nodes';
    if (!isSized) return { question, campaign: simulateCampaign({ assume, set, sweep: sweeps, runs }) };
    // Spares go with the size, so each size is a campaign of its own.
    const parts = (sweeps[0] as Sweep).values.map((nodes) =>
      simulateCampaign({
        assume,
        set: { ...set, spares: Math.ceil(0.02 * Number(nodes)) },
        sweep: [sweep('nodes', nodes), ...sweeps.slice(1)],
        runs,
      }),
    );
    const second = (sweeps[1] as Sweep).values;
    const points = second.flatMap((_, index) =>
      parts.map((part) => part.points[index] as SimulatedCampaign['points'][number]),
    );
    return { question, campaign: { ...(parts[0] as SimulatedCampaign), sweep: sweeps, points } };
  },
);

const total = campaigns.reduce((sum, { campaign }) => sum + campaign.points.length * runs, 0);
const elapsed = (performance.now() - began) / 1000;
const name = values.save;
const sections = campaigns.map(
  ({ question: { title, text, set }, campaign }) =>
    `### ${title}\n\n${text}${
      set
        ? ` (${Object.entries(set)
            .map(([key, value]) => `\`${key}\` ${value}`)
            .join(', ')})`
        : ''
    }\n\n\`\`\`text\n${simulationText(campaign).trimEnd()}\n\`\`\`\n`,
);
const assumed = (campaigns[0] as (typeof campaigns)[number]).campaign.assumptions;
const rows = Object.entries(assumed.settings).map(
  ([key, { value, source }]) => `| \`${key}\` | ${value} | ${source} |`,
);
const page = `# Campaigns on paper

A simulation: nothing here was measured on a cluster. ${runs} simulations of each point, ${total} in all, in ${elapsed.toFixed(1)} s on one core.

${name === undefined ? '' : `![Goodput](${name}.svg)\n\n`}${sections.join('\n')}
### Assumptions of \`apertus-70b\`

| | value | source |
|---|--:|---|
${rows.join('\n')}
`;
if (name === undefined) process.stdout.write(page);
else {
  const folder = join(packageRoot, 'bench', 'results');
  writeFileSync(join(folder, `${name}.md`), page);
  const drawn = campaigns.filter(({ question }) => question.isDrawn);
  writeFileSync(
    join(folder, `${name}.svg`),
    simulationSvg(drawn.map(({ question: { title }, campaign }) => ({ title, campaign }))),
  );
}
