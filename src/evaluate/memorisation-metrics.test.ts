import assert from 'node:assert/strict';
import { test } from 'node:test';
import { goldenJson } from '../../test/golden.ts';
import { lccs, longestCommonRun, longestCommonSubsequence, rougeL, typeTokenRatio } from './memorisation-metrics.ts';

interface Case {
  note: string;
  reference: number[];
  candidate: number[];
  lcs_length: number;
  longest_common_substring: number;
  rouge_l: number;
  lccs: number;
  ttr_reference: number;
  ttr_candidate: number;
}

const { cases } = goldenJson<{ cases: Case[] }>('memorization.json');

function close(actual: number, expected: number, what: string): void {
  assert.ok(Math.abs(actual - expected) <= 1e-12, `${what}: ${actual}, expected ${expected}`);
}

test(`golden/memorization.json: ${cases.length} pairs`, () => {
  assert.ok(cases.length > 5);
  for (const c of cases) {
    assert.equal(longestCommonSubsequence(c.candidate, c.reference), c.lcs_length, c.note);
    assert.equal(longestCommonRun(c.candidate, c.reference), c.longest_common_substring, c.note);
    close(rougeL(c.candidate, c.reference), c.rouge_l, `${c.note}: Rouge-L`);
    close(lccs(c.candidate, c.reference), c.lccs, `${c.note}: LCCS`);
    close(typeTokenRatio(c.reference), c.ttr_reference, `${c.note}: TTR of the reference`);
    close(typeTokenRatio(c.candidate), c.ttr_candidate, `${c.note}: TTR of the candidate`);
  }
});
