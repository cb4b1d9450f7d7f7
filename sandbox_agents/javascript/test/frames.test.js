'use strict';
const assert = require('node:assert/strict');
const { test } = require('node:test');
const { Encoder, decode } = require('../lib/codec');
const frames = require('../lib/frames');
const { FRAME_BYTES, ProtocolViolation } = require('../lib/session');

function encoded(value) {
  const encoder = new Encoder();
  encoder.value(value, 64);
  return Uint8Array.from(encoder.written());
}
const read = (data) => (typeof data === 'string' ? JSON.parse(data) : decode(data, 64));
const MESSAGES = [encoded({ a: 1 }), encoded({ b: [2] })];

test('messages are put behind the numbers', () => {
  for (const depth of [null, 64]) {
    assert.deepEqual(read(frames.make(MESSAGES, 300, 70_000, depth).data), [300, 70_000, { a: 1 }, { b: [2] }]);
    assert.deepEqual(read(frames.make(MESSAGES.slice(1), 1, 0, depth).data), [1, 0, { b: [2] }]);
  }
});

test('a frame that is sent again acknowledges what came since', () => {
  for (const depth of [null, 64]) {
    const frame = frames.make(MESSAGES, 300, 5, depth);
    assert.equal(frames.withAcknowledged(frame, 300, 5), frame.data);
    assert.deepEqual(read(frames.withAcknowledged(frame, 300, 70_000)), [300, 70_000, { a: 1 }, { b: [2] }]);
  }
});

test('an acknowledgement alone', () => {
  assert.deepEqual(read(frames.acknowledgement(7, false)), [0, 7]);
  assert.deepEqual(read(frames.acknowledgement(7, true)), [0, 7]);
});

test('the numbers take no more than there is room for', () => {
  const most = Number.MAX_SAFE_INTEGER;
  const many = Array.from({ length: 70_000 }, () => Uint8Array.of(0x80));
  assert.equal(frames.make(many, most, most, null).data.length, 70_000 + FRAME_BYTES);
});

test('the numbers are read without the messages', () => {
  for (const [number, acknowledged] of [[1, 0], [127, 128], [255, 256], [65_535, 65_536], [2 ** 32, Number.MAX_SAFE_INTEGER]]) {
    const { data } = frames.make(MESSAGES, number, acknowledged, null);
    assert.deepEqual(frames.readHeader(data), { number, acknowledged });
    // Also where the frame is a part of a larger buffer.
    const within = new Uint8Array(data.length + 5).fill(0xff);
    within.set(data, 5);
    assert.deepEqual(frames.readHeader(within.subarray(5)), { number, acknowledged });
  }
});

test('a frame that is cut anywhere in its numbers is refused', () => {
  const { data, start } = frames.make(MESSAGES, 70_000, 2 ** 40, null);
  for (let length = 0; length < start; length += 1) {
    assert.throws(() => frames.readHeader(data.subarray(0, length)), ProtocolViolation);
  }
  frames.readHeader(data.subarray(0, start));
});
