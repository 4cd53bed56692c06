// The probes of a corpus as a shard of their own: they are trained on exactly as often as planned, so they go past all steps
// and are counted in each as kept.
//
// Does not: make probes (probes/build.ts does), or compare them with other documents: a step that finds duplicates never
// sees them, so neither they nor copies of them elsewhere are dropped for the other.
import { join } from 'node:path';
import { writeJsonAtomic } from '../../base/atomic.ts';
import type { Document } from '../../base/document.ts';
import type { Json } from '../../base/json.ts';
import { JsonlWriter, readJsonl } from '../../base/jsonl.ts';
import { funnelName } from '../../base/ledger.ts';
import type { Task } from '../../base/tasks.ts';
import { ShardWriter } from '../writers/shard-writer.ts';
import { count, full, ledgerPart, type ShardFacts } from './final-task.ts';
import { type Line, newFunnel, recipeOf, tokenizerOf } from './line.ts';
import { rowOf, rowSizes } from './records.ts';

export function probesTask(line: Line): Omit<Task, 'name'> {
  const { plan, stepNames } = line;
  const { probes } = plan;
  if (!probes) throw new Error('line: the plan has no probes');
  return {
    recipe: recipeOf(line, [], { probes: probes.sha256, stepNames, ...tokenizerOf(line) }),
    inputs: [],
    async run(dir) {
      const funnel = newFunnel(line);
      const train = new ShardWriter({ dir, name: 'train' });
      const ledger = new JsonlWriter(join(dir, ledgerPart));
      const languages = new Set<string>();
      const licences: Record<string, number> = Object.create(null);
      const total = { bytes: 0, tokens: 0 };
      for await (const document of readJsonl<Document>(probes.path)) {
        const size = line.size(document.text);
        stepNames.forEach((_, index) => {
          funnel.passed(index, document, size, size);
        });
        await train.write(document);
        await ledger.write({ ...rowOf(document), verdict: 'kept', ...rowSizes(size, size) });
        total.bytes += size.bytes;
        total.tokens += size.tokens ?? 0;
        languages.add(document.language);
        licences[document.licence] = (licences[document.licence] ?? 0) + 1;
      }
      await ledger.close();
      const shards = { train: full(await train.close()), validation: [] };
      writeJsonAtomic(join(dir, funnelName), funnel.parts);
      const documents = count(shards.train);
      const facts: ShardFacts = {
        documents,
        trainDocuments: documents,
        trainBytes: total.bytes,
        validationDocuments: 0,
        validationBytes: 0,
        ...(plan.countTokens ? { trainTokens: total.tokens, validationTokens: 0 } : {}),
        shards,
        languages: [...languages].sort(),
        licences: Object.fromEntries(Object.entries(licences).sort(([a], [b]) => (a < b ? -1 : 1))),
      };
      return facts as unknown as Record<string, Json>;
    },
  };
}
