// `belay campaign`: training as a chain of jobs on a cluster.
//
// Does not: do the work; the files beside it and cluster/ do.
import { buildRouteMap } from '@stricli/core';
import { link, sentinel } from './campaign-link.ts';
import { command as simulate } from './campaign-simulate.ts';
import { exportVerb, metrics, report } from './campaign-tell.ts';
import { plan, submit } from './campaign-submit.ts';
import { cancel, logs, save, status, stop } from './campaign-watch.ts';

export const command = buildRouteMap({
  routes: {
    plan,
    submit,
    status,
    logs,
    save,
    stop,
    cancel,
    report,
    metrics,
    export: exportVerb,
    simulate,
    link,
    sentinel,
  },
  docs: {
    brief: 'training as a chain of jobs on a cluster',
    fullDescription:
      'EXAMPLE\n  belay campaign submit --spec campaign.json --out /scratch/me/run1\n  belay campaign status --out /scratch/me/run1\n  belay campaign stop --out /scratch/me/run1',
    hideRoute: { link: true, sentinel: true },
  },
});
