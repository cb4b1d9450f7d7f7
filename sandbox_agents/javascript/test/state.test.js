'use strict';
const assert = require('node:assert/strict');
const { test } = require('node:test');
const { ActorState, StateTable } = require('../lib/state');

/** A table over a store that is a plain object of `["value", json, ttl]` and `["list", [json…], ttl]`. */
function stateOver(store = {}, ttl = null) {
  const clock = { now: 0 };
  const fetched = [];
  const table = new StateTable({
    fetch: (keys) => {
      fetched.push(...keys);
      return Object.fromEntries(keys.filter((key) => Object.hasOwn(store, key)).map((key) => [key, store[key]]));
    },
    fetchKeys: () => Object.keys(store),
    ttl,
    now: () => clock.now,
  });
  return { table, state: new ActorState(table), clock, fetched };
}

/** What the changes amount to; they are final then. */
function commit(table) {
  const operations = table.operations();
  table.commit();
  return operations;
}

test('what is set can be read, and leaves with the commit', () => {
  const { table, state } = stateOver();
  state.set('a', { x: [1, 'two'] });
  assert.deepEqual(state.get('a'), { x: [1, 'two'] });
  assert.deepEqual(commit(table), [['set', 'a', '{"x":[1,"two"]}', null]]);
  assert.deepEqual(commit(table), []);
});

test('get gives a fresh copy, saved by set only', () => {
  const { state } = stateOver();
  state.set('a', [1]);
  state.get('a').push(2);
  assert.deepEqual(state.get('a'), [1]);
});

test('a key is fetched once, and not at all when it is written first', () => {
  const { state, fetched } = stateOver({ a: ['value', '5', null] });
  assert.equal(state.get('a'), 5);
  assert.equal(state.get('a'), 5);
  assert.equal(state.get('b', 'none'), 'none');
  assert.equal(state.get('b'), undefined);
  state.set('c', 1);
  assert.equal(state.get('c'), 1);
  assert.deepEqual(fetched, ['a', 'b']);
});

test('a key named like a member of Object is absent', () => {
  const { state } = stateOver();
  assert.equal(state.get('constructor'), undefined);
  assert.equal(state.exists('__proto__'), false);
});

test('two sets of one key leave as the last', () => {
  const { table, state } = stateOver();
  state.set('a', 1);
  state.set('a', 2);
  assert.deepEqual(commit(table), [['set', 'a', '2', null]]);
});

test('counters are exact over the safe range, and an error over 64 bits', () => {
  const { table, state } = stateOver({ big: ['value', '9007199254740992', null], full: ['value', '9223372036854775807', null] });
  assert.equal(state.increment('n'), 1);
  assert.equal(state.increment('n', 5), 6);
  assert.equal(state.decrement('n', 7), -1);
  assert.equal(state.increment('big'), 9007199254740993n);
  assert.throws(() => state.increment('full'), /does not fit 64 bits/);
  assert.deepEqual(commit(table), [['set', 'n', '-1', null], ['set', 'big', '9007199254740993', null]]);
});

test('counting what is no whole number says what is there', () => {
  const { state } = stateOver({ s: ['value', '"text"', null], l: ['list', ['1'], null] });
  assert.throws(() => state.increment('s'), /"s" holds a string, not a whole number/);
  assert.throws(() => state.increment('l'), /"l" holds a list/);
  assert.throws(() => state.increment('n', 0.5), /takes a whole number/);
  assert.throws(() => state.push('s', 1), /"s" holds a string, not a list/);
});

test('pushes to a list that is there leave as what was appended', () => {
  const { table, state } = stateOver({ l: ['list', ['1', '2'], null] });
  assert.equal(state.push('l', 3, 4), 4);
  assert.equal(state.extend('l', [5]), 5);
  assert.deepEqual(state.get('l'), [1, 2, 3, 4, 5]);
  assert.deepEqual(commit(table), [['append', 'l', ['3', '4', '5'], null]]);
});

test('a new list leaves whole', () => {
  const { table, state } = stateOver();
  assert.equal(state.push('l', 'a'), 1);
  assert.equal(state.push('l', 'b'), 2);
  assert.deepEqual(commit(table), [['list', 'l', ['"a"', '"b"'], null]]);
});

test('pops leave as a trim; of both ends', () => {
  const { table, state } = stateOver({ l: ['list', ['1', '2', '3', '4'], null] });
  assert.equal(state.pop('l'), 4);
  assert.equal(state.pop('l', null, { left: true }), 1);
  assert.deepEqual(state.get('l'), [2, 3]);
  assert.deepEqual(commit(table), [['trim', 'l', 1, 1]]);
});

test('what is pushed and popped again leaves nothing', () => {
  const { table, state } = stateOver({ l: ['list', ['1'], null] });
  state.push('l', 2);
  assert.equal(state.pop('l'), 2);
  assert.deepEqual(commit(table), []);
});

test('a list that is popped empty is no key any more', () => {
  const { table, state } = stateOver({ l: ['list', ['1'], null] });
  assert.equal(state.pop('l'), 1);
  assert.equal(state.exists('l'), false);
  assert.equal(state.pop('l', 'nothing'), 'nothing');
  assert.deepEqual(commit(table), [['delete', 'l']]);
  state.push('l', 9);
  assert.deepEqual(commit(table), [['list', 'l', ['9'], null]]);
});

test('pushing to an array that was set makes it a native list', () => {
  const { table, state } = stateOver({ a: ['value', '[1,2]', null] });
  assert.equal(state.push('a', 3), 3);
  assert.deepEqual(commit(table), [['list', 'a', ['1', '2', '3'], null]]);
  assert.equal(state.pop('a'), 3);
  assert.deepEqual(commit(table), [['trim', 'a', 0, 1]]);
});

test('delete tells whether there was one', () => {
  const { table, state } = stateOver({ a: ['value', '1', null] });
  assert.equal(state.delete('a'), true);
  assert.equal(state.delete('a'), false);
  assert.equal(state.delete('b'), false);
  assert.deepEqual(commit(table), [['delete', 'a']]);
});

test('a rollback brings everything back', () => {
  const { table, state } = stateOver({ l: ['list', ['1', '2', '3'], null], v: ['value', '"old"', null] });
  state.get('l');
  state.get('v');
  state.pop('l');
  state.pop('l');
  state.push('l', 8, 9, 10);
  state.pop('l', null, { left: true });
  state.set('v', 'new');
  state.set('fresh', 1);
  state.expire('v', 5);
  table.rollback();
  assert.deepEqual(state.get('l'), [1, 2, 3]);
  assert.equal(state.get('v'), 'old');
  assert.equal(state.ttl('v'), -1);
  assert.equal(state.exists('fresh'), false);
  assert.deepEqual(commit(table), []);
});

test('lists behave as arrays do, whatever is done to them, and their operations say the same', () => {
  let seed = 7;
  const random = (below) => (seed = (seed * 1103515245 + 12345) & 0x7fffffff) % below;
  const store = { l: ['list', ['0', '1', '2'], null] };
  const { table, state } = stateOver(store);
  let model = [0, 1, 2];
  let stored = [...model];
  for (let round = 0; round < 2000; round += 1) {
    const before = [...model];
    for (let step = random(6); step > 0; step -= 1) {
      const action = random(4);
      if (action === 0) assert.equal(state.pop('l'), model.pop());
      else if (action === 1) assert.equal(state.pop('l', undefined, { left: true }), model.shift());
      else if (action === 2) assert.equal(state.push('l', round, step), model.push(round, step));
      else assert.deepEqual(state.get('l', []), model);
    }
    if (random(3) === 0) {
      table.rollback();
      model = before;
    } else {
      for (const operation of commit(table)) stored = apply(stored, operation);
    }
    assert.deepEqual(stored, model);
    assert.deepEqual(state.get('l', []), model);
  }
});

/** @param {any[]} list @param {any[]} operation */
function apply(list, [name, , first, second]) {
  switch (name) {
    case 'list': return first.map(Number);
    case 'append': return [...list, ...first.map(Number)];
    case 'trim':
      assert.ok(first + second <= list.length);
      return list.slice(first, list.length - second);
    case 'delete': return [];
    default: throw new Error(name);
  }
}

test('keys overlays what is known here over what the store has', () => {
  const { table, state } = stateOver({ 'user:1': ['value', '1', null], 'user:2': ['value', '2', null], other: ['value', '0', null] });
  state.delete('user:1');
  state.set('user:3', 3);
  const only = new ActorState(new StateTable({ fetch: () => ({}), fetchKeys: () => ['user:2'] }));
  assert.deepEqual(only.keys('user:*'), ['user:2']);
  assert.deepEqual(state.keys('user:*').filter((key) => key.startsWith('user')), ['user:2', 'user:3']);
  table.rollback();
  assert.ok(state.keys().includes('user:1'));
});

test('a time to live that was fetched is honoured', () => {
  const { table, state, clock } = stateOver({ a: ['value', '1', 1500] });
  assert.equal(state.ttl('a'), 2);
  clock.now = 1499;
  assert.equal(state.get('a'), 1);
  clock.now = 1500;
  assert.equal(state.exists('a'), false);
  assert.equal(state.ttl('a'), -2);
  assert.deepEqual(commit(table), []);
});

test('expire sets and takes away a time to live', () => {
  const { table, state, clock } = stateOver({ a: ['value', '1', null] });
  assert.equal(state.ttl('a'), -1);
  assert.equal(state.expire('a', 10), true);
  assert.equal(state.ttl('a'), 10);
  assert.equal(state.expire('none', 10), false);
  assert.deepEqual(commit(table), [['expire', 'a', 10000]]);
  state.expire('a', null);
  assert.deepEqual(commit(table), [['expire', 'a', null]]);
  clock.now = 20000;
  assert.equal(state.get('a'), 1);
});

test('a write sets the time to live anew', () => {
  const { table, state, clock } = stateOver({}, 5000);
  state.set('a', 1);
  assert.equal(state.ttl('a'), 5);
  state.set('b', 1, 60);
  assert.equal(state.ttl('b'), 60);
  state.expire('a', 100);
  state.increment('a');
  assert.equal(state.ttl('a'), 5);
  assert.deepEqual(commit(table), [['set', 'a', '2', null], ['set', 'b', '1', 60000]]);
  clock.now = 4000;
  state.push('l', 1);
  clock.now = 8000;
  state.push('l', 2);
  assert.equal(state.ttl('l'), 5);
  assert.equal(state.exists('a'), false);
});

test('keys are checked', () => {
  const { state } = stateOver();
  assert.throws(() => state.get(''), /0 bytes; 1 to 512/);
  assert.throws(() => state.set('ä'.repeat(257), 1), /514 bytes/);
  assert.throws(() => state.get('a\nb'), /control character/);
  assert.throws(() => state.get('a\ud800'), /surrogate/);
  assert.throws(() => state.get(5), /a state key is a string, not number/);
  assert.equal(state.exists('ä'.repeat(256)), false);
});

test('values are checked, and a refused one changes nothing', () => {
  const { table, state } = stateOver();
  for (const value of [undefined, NaN, () => 1, new Map(), 2n ** 63n]) assert.throws(() => state.set('a', value), /state "a"/);
  assert.throws(() => state.push('a', 1, NaN), /state "a"/);
  assert.throws(() => state.set('a', 1, 0), /more than 0 seconds/);
  assert.deepEqual(commit(table), []);
});

test('what is not there cannot be used after the activation', () => {
  const { state } = stateOver();
  state.close();
  assert.throws(() => state.get('a'), /activation is over/);
  assert.throws(() => state.set('a', 1), /activation is over/);
});

test('methods may be awaited', async () => {
  const { state } = stateOver();
  await state.set('a', 1);
  assert.equal(await state.get('a'), 1);
});
