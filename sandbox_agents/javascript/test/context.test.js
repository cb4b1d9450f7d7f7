'use strict';
const assert = require('node:assert/strict');
const { test } = require('node:test');
const { Encoder, decode } = require('../lib/codec');
const { ActorContext, ActorState, Message, actor } = require('../lib/reflow');
const { declarationOf, portNames } = require('../lib/actor');
const { StateTable } = require('../lib/state');

function contextWith(inputs = {}) {
  const sent = [];
  const logged = [];
  const surroundings = {
    table: new StateTable({ fetch: () => ({ known: ['value', '7', null] }), fetchKeys: () => [] }),
    config: { a: 1 },
    actorId: 'node-1',
    writeLog: (...record) => logged.push(record),
    wallClock: () => 1700000000000,
  };
  const context = new ActorContext(new Map(Object.entries(inputs)), surroundings, (...output) => sent.push(output));
  return { context, sent, logged };
}

test('inputs, in all the ways that scripts ask for them', () => {
  const message = Message.integer(5);
  const { context } = contextWith({ data: message });
  assert.equal(context.payload.get('data'), message);
  assert.equal(context.getPayload(), context.payload);
  assert.equal(context.hasInput('data'), true);
  assert.equal(context.hasInput('other'), false);
  assert.equal(context.getInput('data'), message);
  assert.equal(context.getInput('other', 'none'), 'none');
  assert.deepEqual([context.config, context.getConfig()], [{ a: 1 }, { a: 1 }]);
});

test('state, in the new way and the old one', () => {
  const { context } = contextWith();
  assert.ok(context.state instanceof ActorState);
  assert.equal(context.getState(), context.state);
  assert.equal(context.getState('known', 0), 7);
  assert.equal(context.getState('unknown', 'none'), 'none');
  context.setState('k', [1]);
  assert.deepEqual(context.state.get('k'), [1]);
});

test('time and id can be called and read', () => {
  const { context } = contextWith();
  assert.equal(context.timestamp(), 1700000000000);
  assert.equal(context.timestamp + 1, 1700000000001);
  assert.equal(context.actorId(), 'node-1');
  assert.equal(`${context.actorId}`, 'node-1');
  assert.equal(JSON.stringify({ at: context.timestamp }), '{"at":1700000000000}');
  const encoder = new Encoder();
  encoder.value({ id: context.actorId }, 4);
  assert.deepEqual(decode(encoder.written(), 4), { id: 'node-1' });
});

test('what is sent and logged leaves', () => {
  const { context, sent, logged } = contextWith();
  context.send('out', 1);
  context.sendOutput('out', 2);
  assert.deepEqual(sent, [['out', 1], ['out', 2]]);
  context.log('plain');
  context.log('warning', 'text', { a: 1 });
  context.log.error('bad');
  context.log.warn('hm', { b: 2 });
  assert.deepEqual(logged, [
    ['info', 'plain', undefined], ['warning', 'text', { a: 1 }], ['error', 'bad', undefined], ['warning', 'hm', { b: 2 }],
  ]);
});

test('nothing leaves after the activation', () => {
  const { context } = contextWith();
  context.close();
  assert.throws(() => context.send('out', 1), /activation is over/);
  assert.throws(() => context.state.get('k'), /activation is over/);
});

test('actor marks functions, classes and objects', () => {
  const one = () => 1;
  class Two { run() {} }
  const three = { run() {} };
  assert.equal(actor(one), one);
  assert.deepEqual(declarationOf(one), {});
  assert.equal(actor({ name: 'Two' })(Two), Two);
  assert.equal(actor({ name: 'Three' }, three), three);
  assert.deepEqual([declarationOf(Two).name, declarationOf(three).name], ['Two', 'Three']);
  assert.throws(() => actor({})(5), /marks a function/);
  assert.throws(() => actor(5), /takes an object, a name or a function/);
  assert.throws(() => actor(null), /not null/);
});

test('ports are names, declarations, or an object of them', () => {
  assert.equal(portNames(undefined, 'inports'), null);
  assert.deepEqual(portNames(['a', { name: 'b', type: 'float' }], 'inports'), ['a', 'b']);
  assert.deepEqual(portNames({ a: {}, b: {} }, 'inports'), ['a', 'b']);
  assert.throws(() => portNames([{ type: 'float' }], 'inports'), /inports: a port is a name/);
});
