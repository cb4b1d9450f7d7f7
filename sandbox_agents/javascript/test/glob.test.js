'use strict';
const assert = require('node:assert/strict');
const { test } = require('node:test');
const { globMatcher } = require('../lib/glob');

test('patterns match as in Redis', () => {
  for (const [pattern, key, expected] of [
    ['*', '', true], ['*', 'anything', true], ['a*', 'abc', true], ['a*', 'bac', false], ['*c', 'abc', true],
    ['a*b*c', 'axxbyyc', true], ['a*b*c', 'axxcyyb', false], ['h?llo', 'hello', true], ['h?llo', 'hllo', false],
    ['h[ae]llo', 'hallo', true], ['h[ae]llo', 'hillo', false], ['h[^e]llo', 'hallo', true], ['h[^e]llo', 'hello', false],
    ['[a-c]', 'b', true], ['[c-a]', 'b', true], ['[a-c]', 'd', false], ['\\*', '*', true], ['\\*', 'a', false],
    ['[\\]]', ']', true], ['[abc', 'a', true], ['[]', 'a', false], ['a.c', 'abc', false], ['?', '😀', true],
  ]) {
    assert.equal(globMatcher(pattern)(key), expected, `${pattern} ${key}`);
  }
});

test('a pattern of many stars takes no time', () => {
  assert.equal(globMatcher(`${'*a'.repeat(100)}b`)('a'.repeat(500)), false);
});
