'use strict';
const assert = require('node:assert/strict');
const { inspect } = require('node:util');
const { test } = require('node:test');
const { Encoder, decode } = require('../lib/codec');
const { MalformedMessageError, Message } = require('../lib/message');

const wire = (message) => {
  const encoder = new Encoder();
  message.encode(encoder, 16);
  return Uint8Array.from(encoder.written());
};
const again = (message) => Message.decode(decode(wire(message), 16));

test('each type comes back from the wire with its value', () => {
  for (const [message, type, value] of [
    [Message.flow(), 'flow', null],
    [Message.event({ name: 'tick' }), 'event', { name: 'tick' }],
    [Message.boolean(true), 'boolean', true],
    [Message.integer(5), 'integer', 5],
    [Message.integer(2n ** 62n), 'integer', 2n ** 62n],
    [Message.float(5), 'float', 5],
    [Message.float(NaN), 'float', NaN],
    [Message.float(-Infinity), 'float', -Infinity],
    [Message.float(-0), 'float', -0],
    [Message.string('ä'), 'string', 'ä'],
    [Message.object({ a: [1] }), 'object', { a: [1] }],
    [Message.array([1, 'b', null]), 'array', [1, 'b', null]],
    [Message.any([1.5]), 'any', [1.5]],
    [Message.option(), 'option', null],
    [Message.option(3), 'option', 3],
    [Message.option(Message.option(Message.float(2))), 'option', 2],
    [Message.error('bad', 'E1', { at: 3 }), 'error', { message: 'bad', code: 'E1', data: { at: 3 } }],
  ]) {
    const back = again(message);
    assert.equal(back.type, type);
    assert.deepEqual(back.unwrap(), value);
  }
  assert.deepEqual([...again(Message.bytes(Buffer.from('abc'))).unwrap()], [97, 98, 99]);
  assert.equal(Message.binary(Buffer.from('a')).type, 'bytes');
  assert.equal(Message.encoded(new ArrayBuffer(2)).type, 'bytes');
});

test('a whole float is a float on the wire', () => {
  assert.equal(wire(Message.float(5)).at(-9), 0xcb);
  assert.equal(Message.decode(['float', 5]).type, 'float');
  assert.equal(Message.decode(['float', 2n ** 60n]).unwrap(), 2 ** 60);
});

test('plain values become messages by their type', () => {
  for (const [value, type] of [
    [true, 'boolean'], [1, 'integer'], [-0, 'float'], [1.5, 'float'], [2 ** 60, 'float'], [2n ** 60n, 'integer'],
    [NaN, 'float'], ['a', 'string'], [[1], 'array'], [{}, 'object'], [Buffer.from('a'), 'bytes'],
    [Float32Array.of(1), 'array'], [new Error('x'), 'error'],
  ]) {
    assert.equal(Message.of(value).type, type, String(value));
  }
  const message = Message.integer(1);
  assert.equal(Message.of(message), message);
});

test('constructors refuse what is not of their type', () => {
  for (const [make, complaint] of [
    [() => Message.integer(1.5), /use Message.float/],
    [() => Message.integer(2 ** 53), /use a BigInt/],
    [() => Message.integer(2n ** 63n), /does not fit 64 bits/],
    [() => Message.integer('1'), /a whole number is needed, not a string/],
    [() => Message.float('1'), /a number is needed/],
    [() => Message.string(1), /a string is needed/],
    [() => Message.boolean(0), /true or false/],
    [() => Message.array(1), /an array is needed/],
    [() => Message.object([1]), /an object is needed, not an array/],
    [() => Message.object(null), /an object is needed/],
    [() => Message.bytes('a'), /a Buffer or a Uint8Array/],
    [() => Message.error(), /needs a message/],
    [() => Message.stream([]), /context.send/],
    [() => new Message('nonsense', 1), /no message type/],
  ]) {
    assert.throws(make, complaint);
  }
});

test('errors have message and code', () => {
  const error = Message.error(Object.assign(new RangeError('too far'), { code: 'E_FAR' }));
  assert.equal(error.isError(), true);
  assert.equal(error.message, 'RangeError: too far');
  assert.equal(error.code, 'E_FAR');
  assert.equal(Message.string('a').isError(), false);
  assert.equal(Message.error('m', 7).code, 7);
});

test('a message stands for its value', () => {
  assert.ok(11 > Message.integer(10));
  assert.equal(Message.integer(2) + 3, 5);
  assert.equal(`${Message.string('a')}-${Message.float(1.5)}`, 'a-1.5');
  assert.equal(`${Message.object({ a: 1n })}`, '{"a":"1"}');
  assert.equal(JSON.stringify({ m: Message.array([1]) }), '{"m":[1]}');
  assert.deepEqual([...Message.array([1, 2])], [1, 2]);
  assert.equal(Message.string('abc').length, 3);
  assert.equal(Message.integer(3).length, undefined);
  assert.throws(() => [...Message.integer(3)], /cannot be iterated/);
  assert.equal(Message.object({ a: 1 }).data.a, 1);
  assert.match(inspect(Message.string('a')), /Message\.string\('a'\)/);
});

test('a message inside of another stands for its value there', () => {
  assert.deepEqual(again(Message.array([Message.integer(1), { a: Message.string('b') }])).unwrap(), [1, { a: 'b' }]);
});

test('an array of bytes is an array', () => {
  assert.deepEqual(again(Message.array(Uint8Array.of(1, 2))).unwrap(), [1, 2]);
});

test('what is no message is refused', () => {
  for (const pair of [
    null, {}, [], ['integer'], ['integer', 1, 2], ['nonsense', 1], [1, 1], ['integer', 1.5], ['integer', 'a'], ['boolean', 1],
    ['string', null], ['bytes', 'a'], ['array', {}], ['object', []], ['error', {}], ['error', 'a'], ['flow', 1],
    ['option', 5], ['option', ['integer', 'a']], ['stream', null],
  ]) {
    assert.throws(() => Message.decode(pair), MalformedMessageError, JSON.stringify(pair));
  }
});
