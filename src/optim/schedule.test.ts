import assert from 'node:assert/strict';
import { test } from 'node:test';
import { goldenJson } from '../../test/golden.ts';
import { batchSize, type CooldownShape, type DecayStyle, learningRate } from './schedule.ts';

interface Golden {
  schedules: {
    name: string;
    config: {
      init_lr: number;
      wsd_decay_steps: number | null;
      lr_wsd_decay_style: CooldownShape | null;
      max_lr: number;
      min_lr: number;
      lr_warmup_steps: number;
      lr_decay_steps: number;
      lr_decay_style: DecayStyle;
    };
    values_samples_lr_wd: [number, number, number][];
  }[];
  batch_ramps: {
    name: string;
    start_global_batch_size: number;
    increment: number;
    rampup_samples: number;
    global_batch_size: number;
    values_consumed_gbs_runninggbs_microbatches: [number, number, number, number][];
  }[];
}
const golden = goldenJson<Golden>('schedules.json');

for (const { name, config, values_samples_lr_wd } of golden.schedules) {
  test(`learning rates of ${name} are the reference's`, () => {
    const schedule = {
      style: config.lr_decay_style,
      initial: config.init_lr,
      peak: config.max_lr,
      final: config.min_lr,
      warmup: config.lr_warmup_steps,
      total: config.lr_decay_steps,
      cooldown: config.wsd_decay_steps ?? 0,
      cooldownShape: config.lr_wsd_decay_style ?? '1-sqrt',
    };
    for (const [n, want] of values_samples_lr_wd) {
      const got = learningRate(schedule, n);
      assert.ok(Math.abs(got - want) <= 1e-12 * Math.abs(want) + 1e-24, `at ${n}: got ${got}, want ${want}`);
    }
  });
}

for (const ramp of golden.batch_ramps) {
  test(`batch sizes of ${ramp.name} are the reference's`, () => {
    const shape = {
      start: ramp.start_global_batch_size,
      increment: ramp.increment,
      samples: ramp.rampup_samples,
      final: ramp.global_batch_size,
    };
    for (const [n, want] of ramp.values_consumed_gbs_runninggbs_microbatches) assert.equal(batchSize(shape, n), want);
  });
}
