// The plan against the ledger: every planted page must have met the end that `planted.json` foretells, and every
// other page must have come through untouched.
//
// Rows are compared, not totals: two mistakes that cancel each other out in a sum are still two differences.
//
// Does not: repair or explain; a difference is a bug of the builder or of a step.
import type { Json } from '../base/json.ts';
import type { LedgerRow } from '../base/ledger.ts';
import type { Outcome, Plant, Planted } from './planted.ts';

const kept: Outcome = { verdict: 'kept' };

/** Differences between plan and ledger, as sentences; none when all is well. */
export async function reconcile(
  planted: Planted,
  rows: AsyncIterable<LedgerRow> | Iterable<LedgerRow>,
): Promise<string[]> {
  const differences: string[] = [];
  const differ = (id: string, what: string, expected: unknown, found: unknown): void => {
    differences.push(`${id}: ${what}: expected ${JSON.stringify(expected)}, found ${JSON.stringify(found)}`);
  };
  const plantsOf = new Map<string, Plant[]>();
  for (const plant of planted.plants) plantsOf.set(plant.id, [...(plantsOf.get(plant.id) ?? []), plant]);
  const probeCounts = new Map(planted.probes.map(({ id }) => [id, 0]));
  const totals = {
    documents: 0,
    kept: 0,
    dropped: { 'opt-out': 0, 'exact-dedup': 0 },
    changed: 0,
    personalData: { email: 0, ip: 0, iban: 0 },
  };

  for await (const row of rows) {
    totals.documents++;
    if (row.verdict === 'kept') totals.kept++;
    if (row.step === 'opt-out' || row.step === 'exact-dedup') totals.dropped[row.step]++;
    const plants = plantsOf.get(row.id) ?? [];
    plantsOf.delete(row.id);
    const expected = plants[0]?.expected ?? kept;
    for (const plant of plants) {
      if (JSON.stringify(plant.expected) !== JSON.stringify(expected))
        differ(row.id, 'outcomes of its plants', expected, plant.expected);
      if (plant.url !== row.url) differ(row.id, 'address', plant.url, row.url);
      if (plant.kind === 'probe' && row.verdict === 'kept')
        probeCounts.set(plant.probe, (probeCounts.get(plant.probe) ?? 0) + 1);
    }
    const outcome = { verdict: row.verdict, ...(row.step === undefined ? {} : { step: row.step, detail: row.detail }) };
    const want = describe(expected);
    if (JSON.stringify(outcome) !== JSON.stringify(want)) differ(row.id, 'outcome', want, outcome);

    const counts = row.notes?.['pii'] as { readonly [kind: string]: Json } | undefined;
    const plant = plants.find(({ kind }) => kind === 'personal-data');
    const wantCounts = plant?.kind === 'personal-data' && plant.changes ? plant.counts : undefined;
    if (JSON.stringify(counts) !== JSON.stringify(wantCounts)) differ(row.id, 'personal data', wantCounts, counts);
    if (counts) {
      totals.changed++;
      for (const kind of ['email', 'ip', 'iban'] as const) totals.personalData[kind] += Number(counts[kind] ?? 0);
    }
  }
  for (const id of plantsOf.keys()) differ(id, 'ledger row', 'one', 'none');
  for (const { id, repetitions } of planted.probes) {
    if (probeCounts.get(id) !== repetitions) differ(`probe ${id}`, 'kept pages', repetitions, probeCounts.get(id));
  }
  if (JSON.stringify(totals) !== JSON.stringify(planted.expected)) differ('all', 'totals', planted.expected, totals);
  return differences;
}

/** The rows of probes against what was made: each kept, unchanged in number. */
export async function reconcileProbes(
  probes: readonly { readonly id: string; readonly repetitions: number }[],
  rows: AsyncIterable<LedgerRow>,
): Promise<string[]> {
  const kept = new Map(probes.map(({ id }) => [id, 0]));
  const differences: string[] = [];
  for await (const { id, verdict, notes } of rows) {
    const { id: probe = '' } = (notes?.['probe'] ?? {}) as { readonly id?: string };
    const count = kept.get(probe);
    if (count === undefined) differences.push(`${id}: no probe that was made`);
    else if (verdict === 'kept') kept.set(probe, count + 1);
  }
  for (const { id, repetitions } of probes) {
    const found = kept.get(id);
    if (found !== repetitions) differences.push(`probe ${id}: kept documents: expected ${repetitions}, found ${found}`);
  }
  return differences;
}

function describe(outcome: Outcome): { readonly verdict: string; readonly step?: string; readonly detail?: string } {
  if (outcome.verdict === 'kept') return { verdict: 'kept' };
  const detail = outcome.step === 'opt-out' ? outcome.agents.join(', ') : outcome.duplicateOf;
  return { verdict: 'dropped', step: outcome.step, detail };
}
