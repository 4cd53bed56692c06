// Engines of campaigns by name.
//
// Does not: know how an engine works (engine-*.ts).
import type { Engine } from './engine.ts';
import { type BelayEngineOptions, belayEngine } from './engine-belay.ts';
import { megatronEngine } from './engine-megatron.ts';
import type { MegatronPlan } from './megatron-launch.ts';
import type { Site } from './site.ts';

export const engineNames = ['belay', 'megatron'] as const;

export type EngineSpec =
  | ({ readonly engine: 'belay' } & BelayEngineOptions)
  | { readonly engine: 'megatron'; readonly plan: MegatronPlan; readonly site: Site };

/** The engine that a campaign's spec names. */
export function engineOf(spec: EngineSpec): Engine {
  return spec.engine === 'belay' ? belayEngine(spec) : megatronEngine(spec.plan, spec.site);
}
