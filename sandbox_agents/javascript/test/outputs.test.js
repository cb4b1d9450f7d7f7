'use strict';
const assert = require('node:assert/strict');
const { test } = require('node:test');
const { Encoder } = require('../lib/codec');
const { MESSAGE, decodeAt } = require('../lib/forms');
const { Message } = require('../lib/message');
const { UnsendableError, encodeOutput, outputsOf } = require('../lib/outputs');
const { pairOf } = require('./pairs');

const LIMITS = { max_message: 1000, max_frame: 2000, max_depth: 16, max_batch: 4 };
const encoded = (value, port = 'out') => {
  const encoder = new Encoder();
  encodeOutput(encoder, port, value, LIMITS);
  return pairOf(decodeAt(encoder.written(), 64, MESSAGE));
};

test('an object or a Map gives ports and values; nothing sends nothing', () => {
  assert.deepEqual(outputsOf({ a: 1, b: null, c: undefined, d: 0 }, ['a']), [['a', 1], ['d', 0]]);
  assert.deepEqual(outputsOf(new Map([['a', false]]), null), [['a', false]]);
  assert.deepEqual(outputsOf(Object.assign(Object.create(null), { a: 1 }), null), [['a', 1]]);
  assert.deepEqual(outputsOf(undefined, ['a']), []);
  assert.deepEqual(outputsOf(null, ['a']), []);
  assert.deepEqual(outputsOf({}, ['a']), []);
});

test('anything else goes to the only outport, else to "output"', () => {
  const message = Message.object({ a: 1 });
  for (const value of [5, 'text', [1], message, Buffer.from('a'), false]) {
    assert.deepEqual(outputsOf(value, ['only']), [['only', value]]);
    assert.deepEqual(outputsOf(value, ['a', 'b']), [['output', value]]);
    assert.deepEqual(outputsOf(value, null), [['output', value]]);
  }
});

test('messages keep their type, plain values have the one of their own', () => {
  assert.deepEqual(encoded(Message.float(5)), ['float', 5]);
  assert.deepEqual(encoded(5), ['integer', 5]);
  assert.deepEqual(encoded({ a: [1.5] }), ['object', { a: [1.5] }]);
  assert.deepEqual(encoded(Float32Array.of(1.5)), ['array', Float32Array.of(1.5)]);
  assert.deepEqual(encoded({ a: BigUint64Array.of(2n ** 64n - 1n) }), ['object', { a: BigUint64Array.of(2n ** 64n - 1n) }]);
});

test('what cannot be sent is named, with its place', () => {
  for (const [value, complaint] of [
    [{ items: [1, { set: new Set() }] }, /^outputs\.out\.items\[1\]\.set: a Set cannot be sent/],
    [Message.array([1, () => 2]), /^outputs\.out\[1\]: a function cannot be sent/],
    [() => 1, /^outputs\.out: a function/],
    [2n ** 64n, /^outputs\.out: the integer \d+ does not fit 64 bits/],
    [{ a: { b: -(2n ** 64n) } }, /^outputs\.out\.a\.b: the integer/],
    [new Date(0), /^outputs\.out: a Date/],
    [{ a: [Object.assign(new Int8Array(3), { shape: [2, 2] })] }, /^outputs\.out\.a\[0\]: an array of 3 elements has not the shape \[2, 2\]/],
    [Object.assign(new Int8Array(3), { shape: [3, 0] }), /^outputs\.out: an array of 3 elements has not the shape/],
    ['x'.repeat(2000), /^outputs\.out: the message has \d+ bytes; 1000 is the most/],
  ]) {
    assert.throws(() => encoded(value), (error) => error instanceof UnsendableError && complaint.test(error.message));
  }
  assert.throws(() => encoded(1, ''), /1 to 256 bytes, not 0/);
  assert.throws(() => encoded(1, 5), /a port is a name, not a number/);
});

test('a value that contains itself, or is nested too deep, is refused', () => {
  const loop = { list: [] };
  loop.list.push(loop);
  assert.throws(() => encoded(loop), /contains itself/);
  assert.throws(() => encoded(JSON.parse(`${'['.repeat(20)}${']'.repeat(20)}`)), /too deep/);
});
