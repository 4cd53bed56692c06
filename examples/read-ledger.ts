// Reads the ledger of a run: how many documents each rule dropped, and an example of each with its reason.
//
//   node --import tsx examples/read-ledger.ts out/demo/documents
import { pathToFileURL } from 'node:url';
import { type LedgerRow, readLedger } from '../src/index.ts';

export interface Dropped {
  documents: number;
  bytes: number;
  readonly example: LedgerRow;
}

/** `step/reason` -> what it dropped; and what was kept. */
export async function summariseLedger(
  dir: string,
): Promise<{ readonly kept: number; readonly dropped: ReadonlyMap<string, Dropped> }> {
  let kept = 0;
  const dropped = new Map<string, Dropped>();
  for await (const row of readLedger(dir)) {
    if (row.verdict === 'kept') {
      kept++;
      continue;
    }
    const rule = `${row.step}/${row.reason}`;
    const entry = dropped.get(rule) ?? { documents: 0, bytes: 0, example: row };
    entry.documents++;
    entry.bytes += row.bytesIn;
    dropped.set(rule, entry);
  }
  return { kept, dropped };
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const { kept, dropped } = await summariseLedger(process.argv[2] ?? 'out/demo/documents');
  console.log(`kept: ${kept} documents`);
  for (const [rule, { documents, bytes, example }] of dropped) {
    console.log(
      `${rule}: ${documents} documents, ${bytes} bytes, e.g. ${example.url ?? example.id}: ${example.detail}`,
    );
  }
}
