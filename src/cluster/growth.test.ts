import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type GrowthFacts, growthPatience, idleFor, isWorthGrowing, mayGiveWayAtBeginning } from './growth.ts';
import type { ClusterNode, JobRequest } from './scheduler.ts';

const request: JobRequest = {
  ...{ name: 'belay-a-1', body: '', nodes: { min: 1, max: 4 }, timeSeconds: 600 },
  ...{ output: '/dev/null', directory: '/' },
};

const node = (name: string, more: Partial<ClusterNode> = {}): ClusterNode => ({
  ...{ name, state: 'idle', raw: 'IDLE', reason: '', cpus: 4, memoryBytes: 2 ** 30 },
  ...{ features: [], gres: '', partitions: ['all'] },
  ...more,
});

test('only nodes count that are idle and such as the job asks for', () => {
  const nodes = [
    node('n1'),
    node('n2', { state: 'allocated' }),
    node('n3', { state: 'down' }),
    node('n4', { partitions: ['debug'] }),
    node('n5', { features: ['gh200'], gres: 'gpu:gh200:4' }),
    node('n6', { state: 'reserved' }),
  ];
  assert.deepEqual(idleFor(request, nodes), ['n1', 'n4', 'n5']);
  assert.deepEqual(idleFor({ ...request, partition: 'all' }, nodes), ['n1', 'n5']);
  assert.deepEqual(idleFor({ ...request, constraint: 'gh200' }, nodes), ['n5']);
  assert.deepEqual(idleFor({ ...request, gpusPerNode: 4 }, nodes), ['n5']);
  assert.deepEqual(idleFor({ ...request, exclude: ['n1'] }, nodes), ['n4', 'n5']);
  assert.deepEqual(idleFor({ ...request, extra: ['--mem=0', '--exclude=n[1-4]'] }, nodes), ['n5']);
  assert.deepEqual(idleFor({ ...request, extra: ['-x n5'] }, nodes), ['n1', 'n4']);
  assert.deepEqual(idleFor({ ...request, extra: ['--nodelist=n4'] }, nodes), ['n4']);
});

test('a constraint that only Slurm understands, or a list that nobody does, hides no node', () => {
  const nodes = [node('n1')];
  assert.deepEqual(idleFor({ ...request, constraint: '[rack1|rack2]' }, nodes), ['n1']);
  assert.deepEqual(idleFor({ ...request, extra: ['--exclude=n[1'] }, nodes), ['n1']);
});

test('at the beginning two links in a row give way, and no third', () => {
  assert.deepEqual([0, 1, 2, 3].map(mayGiveWayAtBeginning), [true, true, false, false]);
});

test('while it trains a link gives way once that gains more than it costs', () => {
  const facts: GrowthFacts = {
    ...{ nodes: 3, possible: 4, startSeconds: 10, trainedSeconds: 60, leftSeconds: 3600, before: 0 },
  };
  assert.ok(isWorthGrowing(facts));
  assert.ok(!isWorthGrowing({ ...facts, possible: 3 }), 'nothing to gain');
  assert.ok(!isWorthGrowing({ ...facts, startSeconds: undefined }), 'no step yet');
  assert.ok(!isWorthGrowing({ ...facts, trainedSeconds: 39 }), 'too early');
  assert.ok(!isWorthGrowing({ ...facts, leftSeconds: 79 }), 'a quarter of 79 s is less than two starts');
  assert.ok(isWorthGrowing({ ...facts, leftSeconds: 81 }));
  // One node more of a thousand is not worth ten minutes, except in days.
  const large: GrowthFacts = { ...facts, nodes: 1023, possible: 1024, startSeconds: 600, trainedSeconds: 3600 };
  assert.ok(!isWorthGrowing({ ...large, leftSeconds: 12 * 3600 }));
  assert.ok(isWorthGrowing({ ...large, leftSeconds: 20 * 86_400 }));
});

test('each link in a row that gave way doubles the patience of the next', () => {
  assert.deepEqual(
    [0, 1, 2].map((before) => growthPatience(10, before)),
    [40, 80, 160],
  );
  const facts: GrowthFacts = {
    ...{ nodes: 3, possible: 4, startSeconds: 10, trainedSeconds: 60, leftSeconds: 3600, before: 1 },
  };
  assert.ok(!isWorthGrowing(facts));
});
