import assert from 'node:assert/strict';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, test } from 'node:test';
import { Webhook } from './webhook.ts';

const servers: Server[] = [];
after(() => {
  for (const server of servers) {
    server.closeAllConnections();
    server.close();
  }
});

/** A server that answers with these statuses in turn; 0 never answers. */
async function serve(statuses: readonly number[]): Promise<{ url: string; bodies: string[]; server: Server }> {
  const bodies: string[] = [];
  const server = createServer((request, response) => {
    let body = '';
    request.setEncoding('utf8').on('data', (text: string) => void (body += text));
    request.on('end', () => {
      bodies.push(`${request.method} ${request.headers['content-type']} ${body}`);
      const status = statuses[bodies.length - 1] ?? 200;
      if (status === 0) return;
      response.writeHead(status, status === 302 ? { location: 'http://127.0.0.1:9/secret' } : {}).end('no');
    });
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook/SECRET?token=SECRET`, bodies, server };
}

// An answer is waited for as long as a loaded machine may take.
const fast = { timeoutSeconds: 4, retries: 2, pauseSeconds: 0.01 };

test('a message arrives as JSON, after tries where the server is not well', async () => {
  const { url, bodies } = await serve([503, 0, 200]);
  assert.equal(await new Webhook({ url, ...fast }).send({ kind: 'hang', text: 'é' }), undefined);
  assert.deepEqual(bodies, Array(3).fill('POST application/json {"kind":"hang","text":"é"}'));
});

test('what does not help is not tried again, what fails is given up, and no message tells the address', async () => {
  const problems: (string | undefined)[] = [];
  const refused = await serve([404]);
  problems.push(await new Webhook({ url: refused.url, ...fast }).send({}));
  assert.equal(refused.bodies.length, 1);
  const broken = await serve([500, 429, 500, 200]);
  problems.push(await new Webhook({ url: broken.url, ...fast }).send({}));
  assert.equal(broken.bodies.length, 3);
  const moved = await serve([302, 302, 302]);
  problems.push(await new Webhook({ url: moved.url, ...fast }).send({}));
  const gone = await serve([]);
  await new Promise((resolve) => gone.server.close(resolve));
  problems.push(await new Webhook({ url: gone.url, ...fast }).send({}));
  const silent = await serve([0, 0, 0]);
  problems.push(await new Webhook({ url: silent.url, ...fast, timeoutSeconds: 0.3 }).send({}));
  assert.match(
    problems.join('\n'),
    /HTTP 404, after 1.*\n.*HTTP 500, after 3.*\n.*after 3.*\n.*ECONNREFUSED.*\n.*no answer in time/,
  );
  assert.throws(() => new Webhook({ url: 'ftp://host/SECRET' }), /no address of http or https/);
  try {
    new Webhook({ url: 'SECRET' });
  } catch (error) {
    problems.push(String(error));
  }
  assert.doesNotMatch(problems.join('\n'), /SECRET|127\.0\.0\.1|\/hook/);
});
