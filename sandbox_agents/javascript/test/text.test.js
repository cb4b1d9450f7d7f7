'use strict';
const assert = require('node:assert/strict');
const { test } = require('node:test');
const codec = require('../lib/codec');
const { decodeFrame } = require('../lib/session');
const text = require('../lib/text');
const { pairOf } = require('./pairs');
const { Message } = require('../lib/message');

/** One message of a text frame. */
const read = (message) => decodeFrame(text.decode(`[1,0,${message}]`), 64)[2];
const write = (value) => {
  const encoder = new codec.Encoder();
  encoder.value(value, 64);
  return encoder.written();
};
/** What a message becomes that is already encoded. */
const written = (message) => {
  const encoder = new codec.Encoder();
  message.encode(encoder, 64);
  return new codec.Encoded(Buffer.from(encoder.written()));
};

test('a text frame says the same as a binary one', () => {
  assert.deepEqual(read('{"jsonrpc": "2.0", "id": 9007199254740993, "method": "load", "params": {"a": [1, 1.5, null, "ä"]}}'), {
    jsonrpc: '2.0', id: 9007199254740993n, method: 'load', params: { a: [1, 1.5, null, 'ä'] },
  });
  assert.equal(read('[1, 2]').length, 2);
});

test('messages in inputs are what they say', () => {
  const pairs = {
    a: ['bytes', 'aGk='], b: ['option', ['bytes', 'aGk=']], c: ['string', 'aGk='], d: ['float', 5], e: ['float', 'NaN'],
    f: ['option', ['float', 'Infinity']], g: ['string', 'NaN'], h: ['flow', null], i: ['any', { a: [1] }], j: ['option', null],
    k: ['error', { message: 'm', code: 5, data: [1] }], l: ['array', { element: 'int16', shape: [2, 1], data: 'AQD//w==' }],
    m: ['array', []], n: ['float', 'NaN'],
  };
  const { inputs } = read(JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'activate', params: { inputs: pairs } })).params;
  const hi = Buffer.from('hi');
  const rows = Object.assign(Int16Array.of(1, -1), { shape: [2, 1] });
  const found = Object.fromEntries(Object.entries(inputs).map(([port, message]) => [port, pairOf(message)]));
  assert.deepEqual(found.l[1].shape, [2, 1]);
  delete rows.shape;
  assert.deepEqual(found, {
    ...pairs, a: ['bytes', hi], b: ['option', ['bytes', hi]], e: ['float', NaN], f: ['option', ['float', Infinity]], l: ['array', rows], n: ['float', NaN],
  });
  const { params } = read('{"jsonrpc": "2.0", "id": 1, "method": "activate", "params": {"inputs": {"a": ["float", 9007199254740993]}}}');
  assert.deepEqual(params.inputs.a, { type: 'float', value: 2 ** 53 });
});

test('what should be a message and is none is one that is refused', () => {
  for (const pair of [
    5, null, {}, [], ['integer'], ['integer', 1, 2], ['nothing', 1], ['flow', 1], ['integer', 'a'], ['integer', 1.5], ['bytes', 'aGk'], ['bytes', 5],
    ['float', 'nan'], ['float', null], ['option', 5], ['option', ['integer', 'a']], ['error', {}], ['stream', null], ['object', []], ['array', 'a'],
    ['array', {}], ['array', { element: 'int8', shape: [1] }], ['array', { element: 'int8', shape: [2], data: 'AA==' }],
    ['array', { element: 'int8', shape: [], data: 'AA==' }], ['array', { element: 'int8', shape: [1, 0], data: '' }],
    ['array', { element: 'float16', shape: [1], data: 'AAA=' }], ['array', { element: 'int16', shape: [1], data: 'AA==' }],
  ]) {
    const { params } = read(JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'activate', params: { inputs: { a: pair, b: ['integer', 1] } } }));
    assert.equal(params.inputs.a.type, '', JSON.stringify(pair));
    assert.deepEqual(params.inputs.b, { type: 'integer', value: 1 });
  }
});

test('what is no JSON is an error', () => {
  for (const frame of ['', '{', '[1,]', '{"id": 99999999999999999999}', `${'['.repeat(1000)}${']'.repeat(1000)}`]) {
    assert.throws(() => text.decode(frame));
  }
});

test('answers are written as JSON', () => {
  const answer = { id: 1, a: [2n ** 62n, NaN, Buffer.from('hi'), { b: null }] };
  assert.equal(text.encode([write(answer)], 64), '{"id":1,"a":[4611686018427387904,null,"aGk=",{"b":null}]}');
  assert.equal(text.encode([write({ id: 1 }), write({ id: 2 })], 64), '{"id":1},{"id":2}');
});

test('messages are written as type and value, with names and base64 where JSON has no words', () => {
  const outputs = [
    Message.float(NaN), Message.option(-Infinity), Message.any([NaN, Buffer.from('hi'), Float64Array.of(1.5, Infinity)]), Message.bytes(Buffer.from('hi')),
    Message.array(Object.assign(Int8Array.of(1, -1), { shape: [2, 1] })), Message.error('m', 'E'), Message.option(), Message.event(BigUint64Array.of(1n, 2n ** 64n - 1n)),
  ];
  const result = { outputs: outputs.map((message, index) => [`p${index}`, written(message)]), sent: 0 };
  assert.deepEqual(JSON.parse(text.encode([write({ jsonrpc: '2.0', id: 1, result })], 64)).result.outputs.map(([, pair]) => pair), [
    ['float', 'NaN'], ['option', ['float', '-Infinity']], ['any', [null, 'aGk=', [1.5, null]]], ['bytes', 'aGk='],
    ['array', { element: 'int8', shape: [2, 1], data: 'Af8=' }], ['error', { message: 'm', code: 'E' }], ['option', null], ['event', [1, null]],
  ]);
  const send = { jsonrpc: '2.0', method: 'send', params: { index: 0, message: written(Message.float(5)) } };
  assert.equal(text.encode([write(send)], 64), '{"jsonrpc":"2.0","method":"send","params":{"index":0,"message":["float",5]}}');
});

test('a negative zero keeps its sign, and a number over a double is refused', () => {
  assert.equal(text.encode([write({ method: 'log', params: { n: -0 } })], 64), '{"method":"log","params":{"n":-0.0}}');
  assert.throws(() => text.decode('{"a": [1, {"b": 1e400}]}'), /range of a double/);
});
