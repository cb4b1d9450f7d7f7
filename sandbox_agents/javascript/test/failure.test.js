'use strict';
const assert = require('node:assert/strict');
const vm = require('node:vm');
const { test } = require('node:test');
const { clip, describe } = require('../lib/failure');

const WORKSPACE = '/somewhere/workspace';
const thrownBy = (source, filename = 'actors/a.actor.js') => {
  try {
    return vm.compileFunction(source, [], { filename })();
  } catch (error) {
    return error;
  }
};

test('a failure has the place in the script, and only frames of the workspace', () => {
  const helper = thrownBy('return function helper() { null.x; }', `${WORKSPACE}/lib/helper.js`);
  const failure = describe(thrownBy('const helper = arguments[0];\n\n  (() => undefined.name)();'), WORKSPACE);
  assert.deepEqual([failure.type, failure.file, failure.line], ['TypeError', 'actors/a.actor.js', 3]);
  assert.ok(failure.column > 1);
  assert.match(failure.traceback, /^TypeError: Cannot read.*\n +at actors\/a\.actor\.js:3:\d+/);
  assert.doesNotMatch(failure.traceback, /node:|failure\.test|lib\/loader/);
  let inHelper;
  try {
    helper();
  } catch (error) {
    inHelper = describe(error, WORKSPACE);
  }
  assert.equal(inHelper.file, 'lib/helper.js');
  assert.match(inHelper.traceback, /at helper \(lib\/helper\.js:1:/);
});

test('a syntax error has line and column', () => {
  const failure = describe(thrownBy('const a = 1;\nconst b = = 2;'), WORKSPACE);
  assert.deepEqual([failure.type, failure.file, failure.line, failure.column], ['SyntaxError', 'actors/a.actor.js', 2, 11]);
  assert.match(failure.traceback, /actors\/a\.actor\.js:2/);
});

test('causes are told', () => {
  const failure = describe(new Error('outer', { cause: new RangeError('inner') }), WORKSPACE);
  assert.match(failure.traceback, /Error: outer\ncaused by RangeError: inner/);
});

test('whatever is thrown can be told', () => {
  for (const [thrown, complaint] of [
    ['text', /threw text, which is no Error/],
    [undefined, /undefined/],
    [null, /null/],
    [42, /42/],
    [10n, /10/],
    [{ a: 1 }, /\{"a":1\}/],
    [Symbol('s'), /Symbol\(s\)/],
    [Object.create(null), /threw \{\}/],
    [{ toJSON() { throw new Error('no'); }, toString() { throw new Error('no'); } }, /cannot be read/],
    [new Proxy(new Error('x'), { get() { throw new Error('no'); } }), /cannot be read/],
  ]) {
    assert.match(describe(thrown, WORKSPACE).message, complaint);
  }
});

test('sizes are bounded', () => {
  const failure = describe(new Error('ä'.repeat(100_000)), WORKSPACE);
  assert.ok(Buffer.byteLength(failure.message) <= 4096);
  assert.ok(Buffer.byteLength(failure.traceback) <= 16 * 1024);
  assert.equal(clip('short', 10), 'short');
  assert.equal(clip('ääää', 7), 'ä …');
});
