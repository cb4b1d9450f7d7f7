'use strict';
const assert = require('node:assert/strict');
const { test } = require('node:test');
const { retryDelay } = require('../lib/retry');

test('attempts come at growing intervals, up to one', () => {
  assert.deepEqual([0, 1, 2, 3, 6, 7, 100].map((attempt) => retryDelay(attempt, 0)), [10, 20, 40, 80, 640, 1000, 1000]);
});

test('jitter takes up to a half off', () => {
  assert.equal(retryDelay(0, 1), 5);
  assert.equal(retryDelay(9, 0.5), 750);
});
