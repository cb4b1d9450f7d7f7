'use strict';
const assert = require('node:assert/strict');
const { inspect } = require('node:util');
const { test } = require('node:test');
const { Encoder } = require('../lib/codec');
const { MESSAGE, decodeAt } = require('../lib/forms');
const { MalformedMessageError, Message } = require('../lib/message');

const wire = (message) => {
  const encoder = new Encoder();
  message.encode(encoder, 16);
  return Uint8Array.from(encoder.written());
};
const again = (message) => Message.decode(decodeAt(wire(message), 16, MESSAGE));

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
  assert.equal(again(Message.float(5)).type, 'float');
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

test('what costs nothing over MessagePack, and what costs little', () => {
  for (const [message, bytes] of [
    [Message.integer(5), '05'], [Message.flow(), 'c0'], [Message.string('a'), 'a161'], [Message.array([1]), '9101'],
    [Message.any(7), 'd40207'], [Message.option(), 'c70003'], [Message.option(5), 'd40305'], [Message.event(), 'd401c0'],
    [Message.error('m'), 'c7030491a16d'], [Message.error('m', 1), 'd60492a16d01'], [Message.error('m', null, 2), 'c7050493a16dc002'],
  ]) {
    assert.equal(Buffer.from(wire(message)).toString('hex'), bytes, String(message));
  }
});

test('typed arrays arrive as they were, with a shape', () => {
  for (const array of [
    Int8Array.of(-1), Int16Array.of(-1, 2), Int32Array.of(3), BigInt64Array.of(-(2n ** 63n)), Uint16Array.of(65535), Uint32Array.of(1),
    BigUint64Array.of(2n ** 64n - 1n), Float32Array.of(1.5, NaN, -0), Float64Array.of(1.5, Infinity), new Float64Array(0), new Float64Array(500),
  ]) {
    for (const message of [Message.of(array), Message.array(array), Message.any({ a: [array] }), Message.option(array)]) {
      const back = again(message);
      const found = back.type === 'any' ? back.unwrap().a[0] : back.unwrap();
      assert.deepEqual(found, array);
      assert.deepEqual(found.shape, [array.length]);
      // And go on as what they are.
      assert.deepEqual(wire(back), wire(message));
    }
  }
  const grid = Object.assign(Float64Array.of(1, 2, 3, 4, 5, 6), { shape: [2, 3] });
  assert.deepEqual(again(Message.of(grid)).unwrap().shape, [2, 3]);
});

test('bytes are bytes unless an array is asked for, and numbers of eight bits go on as numbers', () => {
  for (const bytes of [Uint8Array.of(1, 2), Buffer.of(1, 2), Uint8ClampedArray.of(1, 2)]) {
    assert.equal(Message.of(bytes).type, 'bytes');
    const back = again(Message.array(bytes));
    assert.equal(back.type, 'array');
    assert.deepEqual([...back.unwrap()], [1, 2]);
    assert.equal(Message.of(back.unwrap()).type, 'array');
    assert.deepEqual(again(Message.any([back.unwrap(), bytes])).unwrap()[0].shape, [2]);
  }
  assert.throws(() => Message.array(new DataView(new ArrayBuffer(2))), /an array is needed/);
});

test('a typed array stands for its numbers', () => {
  const message = Message.array(Object.assign(Int8Array.of(1, 2, 3, 4), { shape: [2, 2] }));
  assert.equal(message.length, 4);
  assert.deepEqual([...message], [1, 2, 3, 4]);
  assert.equal(`${message}`, '[[1,2],[3,4]]');
  assert.equal(JSON.stringify({ message }), '{"message":[[1,2],[3,4]]}');
  assert.equal(`${Message.object({ a: BigInt64Array.of(5n) })}`, '{"a":["5"]}');
});

test('what is no message is refused', () => {
  for (const read of [
    { type: '', value: 'streams' }, { type: 'error', value: 'a' }, { type: 'error', value: [] }, { type: 'error', value: [1] },
    { type: 'error', value: ['m', 1.5] }, { type: 'error', value: ['m', true] }, { type: 'error', value: { message: 'm' } },
    { type: 'option', value: { type: '', value: 'streams' } },
  ]) {
    assert.throws(() => Message.decode(read), MalformedMessageError, JSON.stringify(read));
  }
});

test('options and errors count as levels of depth', () => {
  const encode = (message, depth) => message.encode(new Encoder(), depth);
  let option = Message.option();
  for (let i = 0; i < 5; i += 1) option = Message.option(option);
  encode(option, 5);
  assert.throws(() => encode(option, 4), /too deep/);
  encode(Message.error('m', 1, [[]]), 3);
  assert.throws(() => encode(Message.error('m', 1, [[]]), 2), /too deep/);
  encode(Message.any([Int8Array.of(1)]), 1);
});
