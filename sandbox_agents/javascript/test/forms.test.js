'use strict';
const assert = require('node:assert/strict');
const { test } = require('node:test');
const { MalformedError } = require('../lib/errors');
const { MESSAGE, decodeAt } = require('../lib/forms');

const bytes = (hex) => Buffer.from(hex.replaceAll(' ', ''), 'hex');
const read = (hex, depth = 8) => decodeAt(bytes(hex), depth, MESSAGE);

test('the form says the type', () => {
  for (const [hex, type, value] of [
    ['c0', 'flow', null], ['c2', 'boolean', false], ['7f', 'integer', 127], ['e0', 'integer', -32], ['cd 0100', 'integer', 256],
    ['cb 3ff8000000000000', 'float', 1.5], ['cb 4014000000000000', 'float', 5], ['ca 3fc00000', 'float', 1.5], ['a161', 'string', 'a'],
    ['c40100', 'bytes', Buffer.of(0)], ['90', 'array', []], ['81a16101', 'object', { a: 1 }], ['d401c0', 'event', null], ['d40207', 'any', 7],
    ['c70003', 'option', null], ['d40305', 'option', { type: 'integer', value: 5 }], ['c70304 91a16d', 'error', ['m']],
    ['d5060101', 'array', Int8Array.of(1)], ['91 d5060101', 'array', [Int8Array.of(1)]], ['c70505 0102030405', '', 'streams are not carried by this version of the protocol'],
  ]) {
    assert.deepEqual(read(hex), { type, value }, hex);
  }
});

test('messages stand where their place is, and nowhere else', () => {
  const place = { members: new Map([['in', { everyMember: MESSAGE }], ['out', { everyItem: { secondItem: MESSAGE } }]]) };
  const at = (hex) => decodeAt(bytes(hex), 8, place);
  assert.deepEqual(at('82 a2696e 81a161d40207 a16b 81a16101'), { in: { a: { type: 'any', value: 7 } }, k: { a: 1 } });
  assert.deepEqual(at('81 a36f7574 91 92 a170 05'), { out: [['p', { type: 'integer', value: 5 }]] });
  // Of other shapes nothing is said here.
  assert.deepEqual(at('82 a2696e 05 a36f7574 9105'), { in: 5, out: [5] });
  assert.equal(at('05'), 5);
  for (const hex of ['81 a16b d40207', '81 a2696e d40207', '81 a2696e 91d40207', '81 a36f7574 9192d4020705', '81 a16b d5060101', 'd40207', '91 d5060101']) {
    assert.throws(() => at(hex), MalformedError, hex);
  }
});

test('a long map or array has places too', () => {
  const inner = 'a161 05'.repeat(1);
  assert.deepEqual(decodeAt(bytes(`df 00000001 ${inner}`), 8, { everyMember: MESSAGE }), { a: { type: 'integer', value: 5 } });
  assert.deepEqual(decodeAt(bytes(`dc 0001 05`), 8, { everyItem: MESSAGE }), [{ type: 'integer', value: 5 }]);
});

test('what is malformed inside a message is malformed', () => {
  for (const hex of [
    '', 'c1', 'd4', 'd402', 'c7', 'c705', 'c7000', 'c70002', 'd502c0c0', 'd402c1', 'd4000', 'd40005', 'd40705', 'd4ff05', '91 d40207', 'd502 d402',
    'c70302d40207', 'd503c0c0', 'c70303 9101', 'c70006', 'd4060b', 'd4060f', 'd506 0201', 'c705 02 a2c3', 'c0c0', 'd40207c0', 'c9ffffffff0207',
  ]) {
    assert.throws(() => read(hex), MalformedError, hex);
  }
});

test('depth counts through messages', () => {
  assert.deepEqual(read('91 91 90', 3).value, [[[]]]);
  assert.throws(() => read('91 91 90', 2), /too deep/);
  assert.deepEqual(read('d502 9190', 2).value, [[]]);
  assert.throws(() => read('d502 9190', 1), /too deep/);
  assert.throws(() => read('c70603 c70303 d40390', 3), /too deep/);
  assert.equal(read('c70603 c70303 d40390', 4).value.value.value.type, 'array');
});
