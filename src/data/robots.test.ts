import assert from 'node:assert/strict';
import test from 'node:test';
import { cpuMilliseconds } from '../../test/cpu-time.ts';
import fc from 'fast-check';
import robotsParser from 'robots-parser';
import { goldenJson } from '../../test/golden.ts';
import { isAllowed, parseRobots, urlPath } from './robots.ts';

interface Golden {
  readonly cases: readonly {
    readonly test: string;
    readonly robots: string;
    readonly agent: string;
    readonly url: string;
    readonly allowed: boolean;
  }[];
  readonly url_paths: readonly { readonly url: string; readonly path: string }[];
}
const golden = goldenJson<Golden>('robots.json');

test('every verdict of the reference matcher', () => {
  assert.ok(golden.cases.length >= 199);
  for (const { test: name, robots, agent, url, allowed } of golden.cases) {
    assert.equal(isAllowed(parseRobots(robots), agent, url), allowed, `${name}: ${agent} ${url}\n${robots}`);
    assert.equal(isAllowed(parseRobots(Buffer.from(robots)), agent, url), allowed, `${name}, from bytes`);
  }
});

test('paths of URLs as rules see them', () => {
  for (const { url, path } of golden.url_paths) assert.equal(urlPath(url), path, url);
});

test('an agent obeys its own group and only else the general one', () => {
  const robots = parseRobots('User-agent: *\nDisallow: /\n\nUser-agent: GPTBot\nDisallow: /private\n');
  assert.equal(isAllowed(robots, 'CCBot', 'https://a.example/x'), false);
  assert.equal(isAllowed(robots, '*', 'https://a.example/x'), false);
  assert.equal(isAllowed(robots, 'GPTBot', 'https://a.example/x'), true);
  assert.equal(isAllowed(robots, 'gptbot', 'https://a.example/private/x'), false);
});

test('names with digits are names', () => {
  const robots = parseRobots('User-agent: AI2Bot/1.0\nDisallow: /\n');
  assert.equal(isAllowed(robots, 'AI2Bot', 'https://a.example/x'), false);
  assert.equal(isAllowed(robots, 'AI', 'https://a.example/x'), false);
  assert.equal(isAllowed(robots, 'AI2', 'https://a.example/x'), true);
});

test('agrees with robots-parser on well-formed files', () => {
  const path = fc.constantFrom('/', '/a', '/a/', '/a/b', '/a/*', '/*/b', '/a$', '/b/*c$', '/a/b/c', '/*.html');
  const rule = fc.tuple(fc.constantFrom('Allow', 'Disallow'), path).map(([kind, value]) => `${kind}: ${value}`);
  const group = fc
    .tuple(fc.constantFrom('*', 'GPTBot', 'CCBot'), fc.array(rule, { minLength: 1, maxLength: 5 }))
    .map(([agent, rules]) => [`User-agent: ${agent}`, ...rules].join('\n'));
  const url = fc
    .constantFrom('/', '/a', '/a/', '/a/b', '/a/b/c', '/b/xc', '/x/b', '/a/p.html', '/q')
    .map((tail) => `https://a.example${tail}`);
  fc.assert(
    fc.property(
      fc.array(group, { maxLength: 4 }),
      url,
      fc.constantFrom('GPTBot', 'CCBot', 'Other'),
      (groups, at, agent) => {
        const text = `${groups.join('\n\n')}\n`;
        const peer = (robotsParser as unknown as typeof robotsParser.default)('https://a.example/robots.txt', text);
        assert.equal(isAllowed(parseRobots(text), agent, at), peer.isAllowed(at, agent) ?? true, text);
      },
    ),
    { numRuns: 3000 },
  );
});

test('any bytes parse, and hostile patterns stay fast', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 400 }), (bytes) => {
      isAllowed(parseRobots(bytes), 'GPTBot', 'https://a.example/x');
    }),
  );
  const robots = parseRobots(`User-agent: *\nDisallow: /${'*a'.repeat(8000)}$\n`);
  const start = cpuMilliseconds();
  isAllowed(robots, 'GPTBot', `https://a.example/${'a'.repeat(2000)}b`);
  assert.ok(cpuMilliseconds() - start < 5000);
});
