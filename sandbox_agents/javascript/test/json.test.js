'use strict';
const assert = require('node:assert/strict');
const { test } = require('node:test');
const { parse, stringify } = require('../lib/json');

test('integers keep all their digits', () => {
  assert.equal(parse('9007199254740993'), 9007199254740993n);
  assert.deepEqual(parse('{"a": [-9223372036854775808, 1], "b": "9007199254740993", "c": 1.2345678901234567}'), {
    a: [-(2n ** 63n), 1],
    b: '9007199254740993',
    c: 1.2345678901234567,
  });
  assert.equal(stringify(2n ** 63n - 1n), '9223372036854775807');
  assert.throws(() => parse('9223372036854775808'), /does not fit 64 bits/);
  assert.throws(() => stringify(2n ** 63n), /does not fit 64 bits/);
});

test('the exact reader agrees with JSON.parse on everything else', () => {
  const long = '"1234567890123456"';
  for (const text of [
    `[ ${long} , true,false,null , {} , [ ] , {"a" : {"b":[1.5e3,-0.0,"\\"\\u00e9\\\\"]}} ]`,
    `{"__proto__": {"x": ${long}}, "": 0}`,
    `[1e400, 1234567890123456.5, -1234567890123456e2]`,
  ]) {
    assert.deepEqual(parse(text), JSON.parse(text));
  }
  assert.equal({}.x, undefined);
});

test('what is read back is what was written', () => {
  for (const value of [0, -0, 1.5, 2 ** 60, 1e21, -1e-7, '', 'ä"\\\n', [], [null, true], { a: { b: [1] }, c: 'x' }]) {
    assert.deepEqual(parse(stringify(value)), value);
  }
  assert.equal(typeof parse(stringify(2 ** 60)), 'number');
  assert.equal(stringify({ a: undefined, b: [undefined] }), '{"b":[null]}');
});

test('broken text is an error', () => {
  for (const text of ['', '{', '[1,]', '{"a":1,}', "'a'", 'NaN', '01', '1234567890123456789,']) {
    assert.throws(() => parse(text), SyntaxError);
  }
});

test('what JSON cannot say is refused, not dropped', () => {
  const loop = [];
  loop.push(loop);
  for (const [value, complaint] of [
    [undefined, /undefined/], [NaN, /NaN/], [Infinity, /Infinity/], [() => 1, /function/], [Symbol('s'), /symbol/],
    [Uint8Array.of(1), /bytes/], [new Map(), /Map/], [new Set(), /Set/], [loop, /contains itself/],
  ]) {
    assert.throws(() => stringify(value), complaint);
  }
  assert.equal(stringify(new Date(0)), '"1970-01-01T00:00:00.000Z"');
});
