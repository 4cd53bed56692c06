import assert from 'node:assert/strict';
import { hostname } from 'node:os';
import { test } from 'node:test';
import { type Interfaces, ownAddress, theOne } from './own-address.ts';

const interfaces: Interfaces = {
  lo: [{ address: '127.0.0.1', internal: true }],
  hsn0: [
    { address: '10.1.0.7', internal: false },
    { address: 'fd00::7', internal: false },
    { address: 'fe80::7', internal: false },
  ],
  eth0: [{ address: '192.168.0.7', internal: false }],
};

test('an address of this host is found by name where only one network can be meant', () => {
  assert.equal(theOne(['10.1.0.7'], interfaces), '10.1.0.7');
  assert.equal(theOne(['fe80::7', 'fd00::7', '10.1.0.7'], interfaces), 'fd00::7', 'two families of one interface');
  assert.equal(theOne(['127.0.0.1', '10.1.0.7'], interfaces), '10.1.0.7');
  assert.equal(theOne(['10.1.0.7', '192.168.0.7'], interfaces), undefined, 'two networks');
  assert.equal(theOne(['127.0.0.1'], interfaces), undefined, 'nobody else reaches it');
  assert.equal(theOne(['127.0.1.1'], interfaces), undefined, 'of no interface');
  assert.equal(theOne(['10.1.0.8'], interfaces), undefined, 'of another host');
  assert.equal(theOne([], interfaces), undefined);
});

test('an address stands for itself; a name that nobody here knows is announced as the host calls itself, or as it is', async () => {
  assert.deepEqual(await ownAddress('127.0.0.1'), { listen: ['127.0.0.1'], announce: '127.0.0.1' });
  const { announce } = await ownAddress('no-such-name.invalid');
  const own = await ownAddress(hostname());
  assert.ok([own.announce, 'no-such-name.invalid'].includes(announce), announce);
  const local = await ownAddress('localhost');
  assert.notEqual(local.announce, 'no-such-name.invalid');
});
