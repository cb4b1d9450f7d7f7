'use strict';
const assert = require('node:assert/strict');
const test = require('node:test');
const { complaintAboutActivate, complaintAboutLoad, complaintAboutStop, isFetched, isNames } = require('../lib/params');

const LOAD = { node: 'n', component: 'C', file: 'actors/c.actor.js', source: '' };
const ACTIVATE = { activation: 1, attempt: 1, epoch: 1, inputs: {} };

test('what is right is not complained about', () => {
  assert.equal(complaintAboutLoad(LOAD), null);
  assert.equal(complaintAboutLoad({ ...LOAD, outports: null, deadline_ms: null, state: { ttl_ms: null }, later: 1 }), null);
  assert.equal(complaintAboutLoad({ ...LOAD, outports: ['a'], deadline_ms: 0, state: { backend: 'redis', ttl_ms: 5 } }), null);
  assert.equal(complaintAboutActivate(ACTIVATE), null);
  assert.equal(complaintAboutActivate({ ...ACTIVATE, activation: 2n ** 63n - 1n, timeout_ms: 2 ** 53 - 1, deadline_ms: null }), null);
  assert.equal(complaintAboutStop({}), null);
  assert.equal(complaintAboutStop({ grace_ms: 0 }), null);
});

test('what is missing is named', () => {
  for (const name of Object.keys(LOAD)) {
    const { [name]: _, ...rest } = LOAD;
    assert.ok(complaintAboutLoad(rest)?.startsWith(`${name}: `));
  }
  for (const name of Object.keys(ACTIVATE)) {
    const { [name]: _, ...rest } = ACTIVATE;
    assert.ok(complaintAboutActivate(rest)?.startsWith(`${name}: `));
  }
});

const WRONG_IN_LOAD = {
  node: [7, null],
  file: ['', 1],
  source: [new Uint8Array(1)],
  export: [null, 3],
  config: [[], null, 'x'],
  incarnation: [0, 1.5, '1'],
  inports: ['in', [1], null],
  outports: ['out', [null]],
  error_port: [1, null],
  state: [[], null],
  metadata: [[], null],
  deadline_ms: [-1, 1.5, '5', 2 ** 53],
};

for (const [name, values] of Object.entries(WRONG_IN_LOAD)) {
  test(`load: a wrong ${name} is named`, () => {
    for (const value of values) assert.ok(complaintAboutLoad({ ...LOAD, [name]: value })?.startsWith(`${name}: `), String(value));
  });
}

test('the members of state are looked at', () => {
  assert.equal(complaintAboutLoad({ ...LOAD, state: { ttl_ms: -1 } })?.split(':')[0], 'state.ttl_ms');
  assert.equal(complaintAboutLoad({ ...LOAD, state: { backend: 5 } })?.split(':')[0], 'state.backend');
});

test('activate and stop: what is wrong is named', () => {
  for (const name of ['activation', 'attempt', 'epoch']) {
    for (const value of [0, -1, 1.5, '1', null, true, 2n ** 63n]) {
      assert.ok(complaintAboutActivate({ ...ACTIVATE, [name]: value })?.startsWith(`${name}: `), String(value));
    }
  }
  for (const value of [[], null, 'x']) assert.ok(complaintAboutActivate({ ...ACTIVATE, inputs: value })?.startsWith('inputs: '));
  for (const name of ['timeout_ms', 'deadline_ms']) {
    for (const value of [-1, 0.5, NaN, Infinity, '1', true]) {
      assert.ok(complaintAboutActivate({ ...ACTIVATE, [name]: value })?.startsWith(`${name}: `), String(value));
    }
  }
  for (const value of [-1, '1', null]) assert.ok(complaintAboutStop({ grace_ms: value })?.startsWith('grace_ms: '));
});

test('results: what was fetched, and names', () => {
  assert.ok(isFetched({}));
  assert.ok(isFetched({ a: ['value', '1', null], b: ['list', ['1', '2'], 500] }));
  for (const result of [null, [], { a: null }, { a: ['value', 1, null] }, { a: ['list', '1', null] }, { a: ['set', '1', null] }, { a: ['value', '1'] }, { a: ['value', '1', -1] }]) {
    assert.ok(!isFetched(result), JSON.stringify(result));
  }
  assert.ok(isNames(['a']));
  for (const result of [null, {}, 'a', [1]]) assert.ok(!isNames(result));
});
