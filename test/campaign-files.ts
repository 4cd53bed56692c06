// Writes campaign folders for tests: links, launches, attempts and their steps, as the link's controller and the trainer
// leave them.
//
// Does not: train or schedule anything.
import { appendFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

type Fields = Readonly<Record<string, unknown>>;

export interface PlannedAttempt {
  /** The step it goes on from. */
  readonly from: number;
  /** Steps in the order in which it computes them. */
  readonly steps: readonly number[];
  /** When the first of them begins, and how long each takes. */
  readonly began: number;
  readonly seconds: number;
  readonly startedBy?: string;
  readonly lossOf?: (step: number) => number;
  /** Its last event, if it lives to write one. */
  readonly end?: Fields;
}

/** The loss of a step in planned attempts. */
export const plannedLoss = (step: number): number => 10 / (1 + step);

export class CampaignWriter {
  readonly dir: string;
  private attempts = 0;
  private kept: Fields[] = [];

  constructor(dir: string, campaign: Fields = {}) {
    this.dir = dir;
    this.json('campaign/campaign.json', { format: 'belay-campaign-1', name: 'test', id: 'abc', ...campaign });
  }

  json(path: string, value: Fields): void {
    mkdirSync(join(this.dir, path, '..'), { recursive: true });
    writeFileSync(join(this.dir, path), JSON.stringify(value));
  }

  line(path: string, value: Fields): void {
    mkdirSync(join(this.dir, path, '..'), { recursive: true });
    appendFileSync(join(this.dir, path), `${JSON.stringify(value)}\n`);
  }

  /** Files of a link by their names without `.json`. */
  link(name: string, files: Readonly<Record<string, Fields>>): void {
    for (const [file, value] of Object.entries(files)) this.json(`campaign/links/${name}/${file}.json`, value);
  }

  /** An attempt of the trainer; returns its number. */
  attempt({ from, steps, began, seconds, startedBy, lossOf = plannedLoss, end }: PlannedAttempt): number {
    const attempt = ++this.attempts;
    const folder = `pretrain/attempts/${String(attempt).padStart(4, '0')}`;
    const iso = (time: number): string => new Date(time * 1000).toISOString();
    this.json(`${folder}/attempt.json`, {
      number: attempt,
      host: 'n1',
      ranks: 2,
      started: iso(began - 1),
      ...(startedBy === undefined ? {} : { startedBy }),
    });
    const event = { time: iso(began - 0.5), event: from > 0 ? 'resume' : 'start', attempt };
    this.line('pretrain/events.jsonl', from > 0 ? { ...event, step: from } : event);
    this.kept = this.kept.filter(({ step }) => (step as number) <= from);
    steps.forEach((step, i) => {
      const loss = lossOf(step);
      this.line(`${folder}/steps.jsonl`, { step, time: began + (i + 1) * seconds, seconds, loss });
      this.kept = this.kept.filter((line) => (line['step'] as number) < step);
      this.kept.push({ step, loss, tokensPerSecond: 1000, secondsPerStep: seconds, tokens: 100 * step });
    });
    if (end) this.line('pretrain/events.jsonl', { time: iso(began + (steps.length + 1) * seconds), ...end });
    writeFileSync(
      join(this.dir, 'pretrain', 'metrics.jsonl'),
      this.kept.map((line) => `${JSON.stringify(line)}\n`).join(''),
    );
    return attempt;
  }
}

/** from, from + 1, ..., to */
export function range(from: number, to: number): number[] {
  return Array.from({ length: to - from + 1 }, (_, i) => from + i);
}

/**
 * A campaign with a bit of everything. Link 1 on 4 nodes: steps 1 to 30 and, after a lost rank, 21 to 45; its node dies.
 * Link 2 on 3 nodes: 41 to 60, rolled back to 55 inside, paused. Link 3 runs: 61 to 70.
 */
export function eventfulCampaign(dir: string): CampaignWriter {
  const campaign = new CampaignWriter(dir);
  const four = ['n1', 'n2', 'n3', 'n4'];
  const lost = { domain: 'infrastructure', cause: 'lost-peer', node: 'n4' };
  campaign.link('0001', {
    job: { job: '11', submitted: 990 },
    begin: { time: 1001, job: '11', nodes: four, host: 'n1' },
    'steps/00/step': { time: 1002, nodes: four, world: 4 },
    'steps/00/end': { time: 1045, exit: 74, verdict: lost },
    'steps/01/step': { time: 1046, nodes: four, world: 4 },
    accounting: { job: '11', outcome: 'node-failure', nodes: four, submitted: 990, began: 1000, ended: 1090 },
  });
  campaign.attempt({ from: 0, steps: range(1, 30), began: 1010, seconds: 1, startedBy: 'link 0001 step 00' });
  campaign.attempt({ from: 20, steps: range(21, 45), began: 1050, seconds: 1, startedBy: 'link 0001 step 01' });
  campaign.link('0002', {
    job: { job: '12', submitted: 1000 },
    begin: { time: 1101, job: '12', nodes: ['n1', 'n2', 'n3'], host: 'n1' },
    'steps/00/step': { time: 1102, nodes: ['n1', 'n2', 'n3'], world: 3 },
    end: { time: 1159, why: 'time-limit', verdict: { domain: 'infrastructure', cause: 'time-limit' } },
    accounting: {
      job: '12',
      outcome: 'completed',
      nodes: ['n1', 'n2', 'n3'],
      submitted: 1000,
      began: 1100,
      ended: 1160,
      energyJoules: 9000,
    },
  });
  campaign.attempt({
    from: 40,
    steps: [...range(41, 60), ...range(56, 60)],
    began: 1110,
    seconds: 1.5,
    startedBy: 'link 0002 step 00',
    end: { event: 'paused', by: 'save-and-exit', step: 60 },
  });
  campaign.link('0003', {
    job: { job: '13', submitted: 1100 },
    begin: { time: 1170, job: '13', nodes: ['n1', 'n2', 'n3'], host: 'n1' },
  });
  campaign.attempt({ from: 60, steps: range(61, 70), began: 1180, seconds: 1 });
  campaign.link('0004', { job: { job: '14', submitted: 1170 } });
  return campaign;
}
