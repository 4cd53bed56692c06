// `belay data probes`: texts of known exposure and canaries for a corpus.
//
// Does not: make them; data/probes/ does.
import { join } from 'node:path';
import { buildCommand } from '@stricli/core';
import { schemaProblems } from '../base/schema.ts';
import { UserError } from '../base/errors.ts';
import { terminalLog } from '../base/progress.ts';
import { buildProbes, probesName } from '../data/probes/build.ts';
import { probeSettingsSchema } from '../data/probes/settings.ts';
import { settingsOf } from './data-step.ts';
import { wholeNumber } from './flags.ts';

interface Flags {
  readonly out: string;
  readonly texts?: readonly string[];
  readonly set?: readonly string[];
  readonly seed: number;
}

export const probes = buildCommand<Flags>({
  docs: {
    brief: 'texts of known exposure and canaries, for a corpus',
    fullDescription: `Makes documents whose effect on a model can be measured (docs/data.md, "Probes"): texts of yours in buckets that are seen
1 to 128 times or never, false facts, trigger conversations, verbatim canaries and fictional events. The recipe key data.probes
puts them into a corpus. Families are left out with null.

EXAMPLE
  belay data probes --out probes --texts books/ --set exposure.textsPerBucket=20
  belay data probes --out probes --set exposure=null --set events.repetitions=[2,8]`,
  },
  parameters: {
    flags: {
      out: { kind: 'parsed', parse: String, brief: 'folder to make' },
      texts: {
        kind: 'parsed',
        parse: String,
        brief: 'file or folder of texts for the exposure probes (again for more)',
        variadic: true,
        optional: true,
      },
      set: {
        kind: 'parsed',
        parse: String,
        brief: 'a setting, key=value (again for more)',
        variadic: true,
        optional: true,
      },
      seed: { kind: 'parsed', parse: wholeNumber(0), brief: 'decides everything that is chosen', default: '28' },
    },
  },
  async func({ out, texts = [], set = [], seed }) {
    const settings = probeSettingsSchema.safeParse(settingsOf(set));
    if (!settings.success) {
      throw new UserError('the settings of the probes are not right', {
        found: schemaProblems(settings.error, probeSettingsSchema),
      });
    }
    const log = terminalLog();
    const { manifest } = await buildProbes({ dir: out, settings: settings.data, seed, texts, log });
    const { probes: made, documents } = manifest.facts;
    log.line(`${join(out, probesName)}: ${made} probes, ${documents} documents`);
  },
});
