'use strict';
const assert = require('node:assert/strict');
const { test } = require('node:test');
const codec = require('../lib/codec');
const text = require('../lib/text');

const read = (frame) => codec.decode(text.decode(frame), 64);

test('a text frame says the same as a binary one', () => {
  assert.deepEqual(read('{"jsonrpc": "2.0", "id": 9007199254740993, "method": "load", "params": {"a": [1, 1.5, null, "ä"]}}'), {
    jsonrpc: '2.0', id: 9007199254740993n, method: 'load', params: { a: [1, 1.5, null, 'ä'] },
  });
  assert.equal(read('[1, 2]').length, 2);
});

test('bytes in inputs are base64', () => {
  const inputs = '{"a": ["bytes", "aGk="], "b": ["option", ["bytes", "aGk="]], "c": ["string", "aGk="], "d": 5}';
  const { params } = read(`[{"jsonrpc": "2.0", "id": 1, "method": "activate", "params": {"inputs": ${inputs}}}]`)[0];
  assert.deepEqual(params.inputs.a, ['bytes', Buffer.from('hi')]);
  assert.deepEqual(params.inputs.b, ['option', ['bytes', Buffer.from('hi')]]);
  assert.deepEqual([params.inputs.c, params.inputs.d], [['string', 'aGk='], 5]);
});

test('what is no JSON is an error', () => {
  for (const frame of ['', '{', '[1,]', '{"id": 99999999999999999999}', `${'['.repeat(1000)}${']'.repeat(1000)}`]) {
    assert.throws(() => text.decode(frame));
  }
});

test('answers are written as JSON', () => {
  assert.equal(text.encode([{ id: 1, a: [2n ** 62n, NaN, Buffer.from('hi'), { b: null }] }]), '{"id":1,"a":[4611686018427387904,null,"aGk=",{"b":null}]}');
  assert.equal(text.encode([{ id: 1 }, { id: 2 }]), '{"id":1},{"id":2}');
});

test('floats that JSON has no words for have names, also inside an option', () => {
  const commit = { jsonrpc: '2.0', id: 1, result: { outputs: [['a', ['float', NaN]], ['b', ['option', ['float', -Infinity]]], ['c', ['any', [NaN]]]], sent: 0 } };
  assert.equal(text.encode([commit]), '{"jsonrpc":"2.0","id":1,"result":{"outputs":[["a",["float","NaN"]],["b",["option",["float","-Infinity"]]],["c",["any",[null]]]],"sent":0}}');
  const { inputs } = read('{"jsonrpc": "2.0", "id": 1, "method": "activate", "params": {"inputs": {"a": ["float", "NaN"], "b": ["option", ["float", "Infinity"]], "c": ["string", "NaN"]}}}').params;
  assert.deepEqual(inputs, { a: ['float', NaN], b: ['option', ['float', Infinity]], c: ['string', 'NaN'] });
});

test('a negative zero keeps its sign, and a number over a double is refused', () => {
  assert.equal(text.encode([{ method: 'log', params: { n: -0 } }]), '{"method":"log","params":{"n":-0.0}}');
  assert.throws(() => text.decode('{"a": [1, {"b": 1e400}]}'), /range of a double/);
});
