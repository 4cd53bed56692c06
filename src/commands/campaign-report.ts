// The report of a campaign: one HTML file with its curve over all links, where the time went, its nodes and its alerts.
//
// Written only from the files of the campaign folder, at any time, also while it runs. A node that was slow, hung or
// failed is marked, in words and not by colour alone.
//
// Does not: measure, or ask a scheduler; what its accounts say is in the folder (cluster/accounting.ts).
import { join } from 'node:path';
import { writeFileAtomic } from '../base/atomic.ts';
import { escapeMarkup } from '../base/markup.ts';
import { amount, duration } from '../base/progress.ts';
import { type History, type HistoryOptions, type HistorySummary, historyOf } from '../cluster/history.ts';
import { type CampaignFiles, readCampaignFiles } from '../cluster/history-files.ts';
import { type NodeHistory, nodeHistories, type SlowTime } from '../cluster/node-history.ts';
import { lineChart, lossChart, type Point, thin, type TimeBar, timeChart } from './report-charts.ts';
import { pageOf, percent, section, table } from './report-page.ts';

/** Name in the campaign folder. */
export const campaignReportName = 'campaign-report.html';

/** Points that go to a chart at most; it thins them further. */
const mostPoints = 5000;
/** Rows of a table that a person still reads. */
const mostRows = 500;

/** Writes `campaign-report.html` into a campaign folder and returns its path. */
export function writeCampaignReport(dir: string, options: HistoryOptions, files = readCampaignFiles(dir)): string {
  const path = join(dir, campaignReportName);
  writeFileAtomic(path, campaignReportPage(files, historyOf(files, options)));
  return path;
}

/** The page. */
export function campaignReportPage(files: CampaignFiles, history: History): string {
  const nodes = nodeHistories(files, history);
  return pageOf({
    title: `${history.name}: one campaign, ${history.summary.links} links`,
    lead: lead(history, nodes),
    sections: [
      tiles(history),
      lossSection(files),
      timeSection(history),
      nodeSection(nodes),
      alertSection(files),
      linkSection(history),
      attemptSection(history),
      problemSection(history),
    ],
    footer:
      'Every number on this page was read from the files of the campaign. What each of them means stands in <code>docs/cluster.md</code>.',
  });
}

function lead({ summary, links }: History, nodes: readonly NodeHistory[]): string {
  const marked = nodes.filter(({ isMarked }) => isMarked);
  const running = links.find(({ began, ended }) => began !== undefined && ended === undefined);
  const sentences = [
    `${amount(summary.lastStep)} steps over ${summary.links} links and ${summary.attempts} starts; ${
      running ? `link ${running.name} runs` : 'no link runs'
    }.`,
    marked.length > 0
      ? `Of ${nodes.length} nodes ${marked.length} stand out: ${marked
          .slice(0, 8)
          .map(({ node }) => node)
          .join(', ')}${marked.length > 8 ? ', ...' : ''}.`
      : `None of ${nodes.length} nodes stands out.`,
  ];
  if (summary.differingSteps.length > 0) {
    sentences.push(
      `${summary.differingSteps.length} steps gave another loss when they were taken again, the first of them step ${summary.differingSteps[0]}: some hardware does not compute right.`,
    );
  }
  return `<p class="lead">${escapeMarkup(sentences.join(' '))}</p>`;
}

/** Where the energy is known from. */
function energySource({ links, energyJoules, energyIsEstimate, energyMeasuredLinks }: HistorySummary): string {
  if (links > 0 && !energyIsEstimate) return 'energy, as the scheduler measured it';
  const measured =
    energyMeasuredLinks === 0
      ? 'the scheduler measured none'
      : `the scheduler measured ${energyMeasuredLinks} of ${links} links`;
  const rest = energyJoules === undefined ? 'the site names no watts of a node' : 'else watts of a node times seconds';
  return `energy: ${measured}, ${rest}`;
}

function tiles({ summary }: History): string {
  const { goodput, availability, mtbfSeconds, energyJoules, lostSteps, rolledBackSteps } = summary;
  const facts: (readonly [string | undefined, string])[] = [
    [goodput === undefined ? undefined : percent(goodput), 'goodput: time of steps that count by allocated node time'],
    [availability === undefined ? undefined : percent(availability), 'availability: share of the time it trained'],
    [
      `${lostSteps}`,
      `steps lost with their attempt${rolledBackSteps > 0 ? `, and ${rolledBackSteps} taken back` : ''}`,
    ],
    [mtbfSeconds === undefined ? undefined : duration(mtbfSeconds), 'between failures, on average'],
    [duration(summary.allocatedNodeSeconds), 'allocated, all nodes together'],
    [energyJoules === undefined ? 'not known' : `${amount(energyJoules / 3.6e6)} kWh`, energySource(summary)],
  ];
  return `<ul class="tiles">${facts
    .filter(([value]) => value !== undefined)
    .map(([value, what]) => `<li><b>${escapeMarkup(value as string)}</b><span>${escapeMarkup(what)}</span></li>`)
    .join('')}</ul>`;
}

function pointsOf({ metrics }: CampaignFiles, field: string): Point[] {
  return metrics.flatMap((line) => {
    const y = line[field];
    return typeof y === 'number' && Number.isFinite(y) ? [{ x: line.step, y }] : [];
  });
}

function lossSection(files: CampaignFiles): string {
  const losses = pointsOf(files, 'loss');
  if (losses.length < 2) return '';
  const seconds = thin(pointsOf(files, 'secondsPerStep'), mostPoints);
  const charts = lossChart('Loss over all links', thin(losses, mostPoints), pointsOf(files, 'validationLoss'));
  return section(
    'One curve',
    'Each step once, as it was computed by the attempt that counts; below, what it took.',
    charts + (seconds.length < 2 ? '' : lineChart('Seconds of a step', 'seconds', seconds)),
  );
}

function timeSection({ links }: History): string {
  const ran = links.filter(({ began }) => began !== undefined);
  const zero = Math.min(...ran.map(({ began }) => began as number));
  if (ran.length === 0) return '';
  const whole = Math.max(...ran.map(({ began, seconds }) => (began as number) + seconds.allocated)) - zero;
  const [unit, name] = whole > 7200 ? ([3600, 'hours'] as const) : ([1, 'seconds'] as const);
  const bars = ran.slice(-mostRows).map(({ name: link, began, seconds }): TimeBar => {
    const { starting, useful, lost, rolledBack, between, ending } = seconds;
    const part = (kind: 'useful' | 'lost' | 'else', length: number, what: string) => ({
      kind,
      length: Math.max(0, length / unit),
      title: `${what}, ${duration(Math.max(0, length))}`,
    });
    return {
      name: link,
      from: ((began as number) - zero) / unit,
      parts: [
        part('else', starting, 'before its first step'),
        part('useful', useful, 'steps that count'),
        part('lost', lost + rolledBack, 'steps that were lost or taken back'),
        part('else', between, 'saving, validating, starting again'),
        part('else', ending, 'after its last step'),
      ],
    };
  });
  return section(
    'Where the time went',
    'A bar for each link, as long as it was allocated: how much of it went into steps that count (first colour) and into steps that were lost (second colour); the rest is grey. Parts are added up, not in the order in which they came.',
    timeChart('Time of each link', `${name} since the first link began`, bars),
  );
}

function describeSlow({ rank, fromStep, toStep, score, link }: SlowTime): string {
  const until = toStep === undefined ? 'on' : `to ${toStep}`;
  return `rank ${rank} at ${percent(score, 0)} of its peers' speed from step ${fromStep} ${until} (link ${link})`;
}

function nodeSection(nodes: readonly NodeHistory[]): string {
  if (nodes.length === 0) return '';
  const rows = nodes.slice(0, mostRows).map(({ node, links, allocatedSeconds, slow, hangs, failures, vetting }) => {
    const notes = [
      ...(slow.length > 0 ? ['slowed'] : []),
      ...(hangs > 0 ? ['hung'] : []),
      ...(failures > 0 ? ['failed'] : []),
      ...(vetting === 'sick' ? ['sick'] : []),
    ];
    const what = [
      ...slow.slice(0, 4).map(describeSlow),
      ...(slow.length > 4 ? [`${slow.length - 4} more times`] : []),
      ...(hangs > 0 ? [`others waited for it in ${hangs} hang${hangs > 1 ? 's' : ''}`] : []),
      ...(failures > 0 ? [`blamed for ${failures} end${failures > 1 ? 's' : ''}`] : []),
      ...(vetting === undefined ? [] : [`vetted ${vetting}`]),
    ];
    return [node, notes.join(', '), what.join('; '), `${links.length}`, duration(allocatedSeconds)];
  });
  const more = nodes.length > mostRows ? ` The first ${mostRows} of ${nodes.length}.` : '';
  return section(
    'Nodes',
    `Nodes that were slow, hung or failed come first and are marked.${more}`,
    table(
      ['node', 'mark', 'what', 'links', 'allocated'],
      rows,
      [3, 4],
      undefined,
      (row) => nodes[row]?.isMarked ?? false,
    ),
  );
}

function alertSection({ alerts }: CampaignFiles): string {
  if (alerts.length === 0) return '';
  const rows = alerts
    .slice(-mostRows)
    .map(({ time, event, state, step, text, problem }) =>
      [time, event, state, step, text ?? problem].map((cell) => (cell === undefined ? '' : String(cell))),
    );
  return section('Alerts', 'When each began and when it was over.', table(['time', 'what', '', 'step', ''], rows, [3]));
}

const clock = (time: number | undefined): string =>
  time === undefined ? '' : `${new Date(time * 1000).toISOString().slice(0, 19).replace('T', ' ')} UTC`;
const stepsOf = (first: number | undefined, last: number | undefined): string =>
  first === undefined || last === undefined ? '' : `${first} to ${last}`;

function linkSection({ links }: History): string {
  const rows = links
    .slice(-mostRows)
    .map((link) => [
      link.name,
      link.job ?? '',
      `${link.nodes.length}`,
      clock(link.began),
      link.began === undefined ? '' : duration(link.seconds.allocated),
      stepsOf(link.firstStep, link.lastStep),
      `${link.lostSteps}`,
      link.why,
      link.verdict === undefined ? '' : `${link.verdict.domain}, ${link.verdict.cause}`,
    ]);
  if (rows.length === 0) return '';
  const head = ['link', 'job', 'nodes', 'began', 'allocated', 'steps', 'lost', 'ended by', 'to blame'];
  return section('Links', 'One job each.', table(head, rows, [2, 4, 6]));
}

function attemptSection({ attempts }: History): string {
  if (attempts.length === 0) return '';
  const rows = attempts
    .slice(-mostRows)
    .map((attempt) => [
      `${attempt.number}`,
      attempt.link ?? '',
      attempt.host ?? '',
      `${attempt.ranks ?? ''}`,
      `${attempt.resumedFrom ?? ''}`,
      stepsOf(attempt.firstStep, attempt.lastStep),
      `${attempt.lostSteps}`,
      attempt.why,
    ]);
  const head = ['attempt', 'link', 'first host', 'ranks', 'went on from', 'steps', 'lost', 'ended by'];
  return section('Starts of the training', 'Several in a link where a rank was lost.', table(head, rows, [3, 4, 6]));
}

function problemSection({ problems }: History): string {
  if (problems.length === 0) return '';
  return section(
    'What could not be read',
    'Left out above.',
    table(
      ['problem'],
      problems.slice(0, mostRows).map((one) => [one]),
    ),
  );
}
