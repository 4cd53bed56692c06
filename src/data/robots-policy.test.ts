import assert from 'node:assert/strict';
import test from 'node:test';
import { cpuMilliseconds } from '../../test/cpu-time.ts';
import fc from 'fast-check';
import { goldenJson } from '../../test/golden.ts';
import { RobotsPolicy } from './robots-policy.ts';
import { parseProtego, protegoAllows } from './robots-protego.ts';
import { isAllowed, parseRobots } from './robots.ts';

interface Case {
  readonly robots: string;
  readonly agent: string;
  readonly url: string;
  readonly allowed: boolean;
  readonly allowed_protego: boolean;
}
const { cases } = goldenJson<{ readonly cases: readonly Case[] }>('robots.json');

test('every verdict of Protego, and 14 that Google gives otherwise', () => {
  let differ = 0;
  for (const { robots, agent, url, allowed, allowed_protego } of cases) {
    const said = `${agent} ${url}\n${robots}`;
    assert.equal(protegoAllows(parseProtego(robots), agent, url), allowed_protego, said);
    assert.equal(protegoAllows(parseProtego(Buffer.from(robots)), agent, url), allowed_protego, said);
    if (allowed !== allowed_protego) differ++;
  }
  assert.equal(differ, 14);
});

/** Verdicts of Protego 0.2.1 on Python 3.11 that no golden case has. */
test('the corners of Protego', () => {
  const all = 'User-agent: *\n';
  const verdicts: readonly (readonly [string, string, string, boolean])[] = [
    ['User-agent: foo\nDisallow: /\n', 'FooBot', 'https://a.example/', false],
    [
      'User-agent: foo\nUser-agent: foob\nAllow: /\n\nUser-agent: foo\nDisallow: /\n',
      'FooBot',
      'https://a.example/',
      true,
    ],
    ['User-agent: foo*\nDisallow: /\n', 'FooBot', 'https://a.example/', false],
    ['user-agent *\nuseragent FooBot\ndisallow /\n', 'FooBot', 'https://a.example/', false],
    ['User-Agent *\nDisallow /\n', 'FooBot', 'https://a.example/', true],
    [`${all}Disallow: /~x\n`, 'x', 'https://a.example/%7Ex', false],
    [`${all}Disallow: /a?b=1$\n`, 'x', 'https://a.example/a?b=1', true],
    [`${all}Disallow: //host/x\n`, 'x', 'https://a.example/x', false],
    [`${all}Disallow: //[x/\n`, 'x', 'https://a.example/', true],
    [`${all}Disallow: /\n`, 'x', 'https://[x/', true],
    [`${all}Disallow: /a;b\n`, 'x', 'https://a.example/a;b#c', false],
    [`${all}Disallow: /a\u2028Allow: /a\n`, 'x', 'https://a.example/a', true],
    [`${all}Disallow: /?*$*x\n`, 'x', 'https://a.example/?y', true],
    [`${all}Disallow: /\nAllow: /d/index.html\n`, 'x', 'https://a.example/d/', true],
  ];
  for (const [robots, agent, url, allowed] of verdicts) {
    assert.equal(protegoAllows(parseProtego(robots), agent, url), allowed, `${agent} ${url}\n${robots}`);
  }
});

test('strictest refuses what either refuses', () => {
  const line = fc.oneof(
    fc.constantFrom('*', 'GPTBot', 'GPT', 'CCBot/2.0', 'Other bot').map((agent) => `User-agent: ${agent}`),
    fc
      .tuple(fc.constantFrom('Allow', 'Disallow'), fc.constantFrom('/', '/a', '/a*c$', '/%61', '/a?b', '', '/ä'))
      .map(([key, value]) => `${key}: ${value}`),
    fc.constantFrom('', 'Sitemap: /x', 'Crawl-delay: 3', '# no'),
  );
  const path = fc.constantFrom('/', '/a', '/abc', '/a?b', '/%C3%A4', '/b');
  const agents = ['GPTBot', 'CCBot', 'CCBot/2.0', '*'];
  fc.assert(
    fc.property(fc.array(line, { maxLength: 12 }), path, (lines, at) => {
      const body = lines.join('\n');
      const url = `https://a.example${at}`;
      const by = (mode: 'rfc9309' | 'protego' | 'strictest'): string[] =>
        new RobotsPolicy(body, mode).refusedAgents(url, agents);
      const either = new Set([...by('rfc9309'), ...by('protego')]);
      assert.deepEqual(
        by('strictest'),
        agents.filter((agent) => either.has(agent)),
        body,
      );
      // Shared rules change no answer.
      assert.deepEqual(
        by('protego'),
        agents.filter((agent) => !protegoAllows(parseProtego(body), agent, url)),
      );
      assert.deepEqual(
        by('rfc9309'),
        agents.filter((agent) => !isAllowed(parseRobots(body), agent.split('/')[0] as string, url)),
      );
    }),
    { numRuns: 2000 },
  );
});

test('a version of an agent obeys the group of the product by RFC 9309, and its own by Protego', () => {
  const body = 'User-agent: CCBot/2.0\nDisallow: /\n';
  const agents = ['CCBot', 'CCBot/2.0', 'CCBot/1.0'];
  assert.deepEqual(new RobotsPolicy(body, 'rfc9309').refusedAgents('https://a.example/', agents), agents);
  assert.deepEqual(new RobotsPolicy(body, 'protego').refusedAgents('https://a.example/', agents), ['CCBot/2.0']);
});

test('any bytes parse in both ways, and hostile ones stay fast', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), fc.webUrl(), (bytes, url) => {
      new RobotsPolicy(bytes, 'strictest').allows('GPTBot', url);
    }),
  );
  const hostile = [
    `User-agent: *\nDisallow: /${'*a'.repeat(8000)}$\n`,
    'User-agent: *\nDisallow: /a*b*c*d*e\n'.repeat(10_000),
    `User-agent: *\n${'Allow: /index.html\n'.repeat(10_000)}`,
    `${'User-agent: a\n'.repeat(30_000)}Disallow: /\n`,
    'a '.repeat(200_000),
    `User-agent: *\nDisallow: /${'%'.repeat(400_000)}`,
  ];
  for (const body of hostile) {
    const start = cpuMilliseconds();
    new RobotsPolicy(body, 'strictest').allows('GPTBot', `https://a.example/${'a'.repeat(2000)}b`);
    assert.ok(cpuMilliseconds() - start < 3000, body.slice(0, 40));
  }
});

test('escapes of an address in small letters are those of the rule', () => {
  const policy = new RobotsPolicy('User-agent: *\nDisallow: /caf%C3%A9\nDisallow: /a%2fb', 'rfc9309');
  for (const path of ['/caf%c3%a9/x', '/caf%C3%a9', '/café', '/a%2fb', '/a%2Fb']) {
    assert.equal(policy.allows('Any', `https://e.example${path}`), false, path);
  }
  assert.equal(policy.allows('Any', 'https://e.example/a/b'), true);
});
