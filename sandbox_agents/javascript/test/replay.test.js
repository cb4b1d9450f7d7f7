'use strict';
const assert = require('node:assert/strict');
const { test } = require('node:test');
const { Arrival, Replay } = require('../lib/replay');
const { ProtocolViolation } = require('../lib/session');
const { STEPS, play } = require('./network');

const WINDOW = { maxFrames: 3, maxBytes: 100, ackFrames: 2, ackBytes: 50 };

function keeping(...frames) {
  const replay = new Replay(WINDOW);
  for (const frame of frames) replay.keep(frame, 10);
  return replay;
}

function sent(replay) {
  const found = [];
  while (replay.hasNext) {
    const { number, frame } = replay.next();
    found.push([number, frame]);
  }
  return found;
}

test('frames are numbered from one and kept until they are acknowledged', () => {
  const replay = keeping('a', 'b');
  assert.equal(replay.following, 3);
  assert.deepEqual(sent(replay), [[1, 'a'], [2, 'b']]);
  assert.equal(replay.arrived(0, 1, 0), Arrival.ACKNOWLEDGEMENT);
  assert.deepEqual([replay.kept, replay.keptBytes, replay.acknowledged], [1, 10, 1]);
});

test('the next frame is new and any other is not', () => {
  const replay = keeping();
  assert.equal(replay.arrived(1, 0, 5), Arrival.NEW);
  assert.equal(replay.arrived(1, 0, 5), Arrival.DUPLICATE);
  assert.equal(replay.arrived(3, 0, 5), Arrival.GAP);
  assert.equal(replay.received, 1);
});

test('a full window, by frames or by bytes', () => {
  const replay = keeping('a', 'b', 'c');
  assert.equal(replay.hasRoom, false);
  sent(replay);
  replay.arrived(0, 2, 0);
  assert.equal(replay.hasRoom, true);
  replay.keep('large', 1000);
  assert.equal(replay.hasRoom, false);
});

test('an acknowledgement is due after so much, or after so long', () => {
  const replay = keeping();
  replay.arrived(1, 0, 1);
  assert.deepEqual([replay.owes, replay.isDue], [true, false]);
  replay.insist();
  assert.equal(replay.isDue, true);
  replay.told();
  assert.equal(replay.owes, false);
  replay.arrived(2, 0, 50);
  assert.equal(replay.isDue, true);
});

test('what the peer has not is sent again, and what it has is not', () => {
  const replay = keeping('a', 'b', 'c');
  sent(replay);
  replay.resume(1);
  assert.deepEqual(sent(replay), [[2, 'b'], [3, 'c']]);
});

test('a peer cannot have what was not sent, nor lose what it acknowledged', () => {
  const replay = keeping('a', 'b', 'c');
  replay.next();
  replay.next();
  assert.throws(() => replay.arrived(0, 3, 0), ProtocolViolation);
  replay.arrived(0, 1, 0);
  assert.throws(() => replay.resume(3), ProtocolViolation);
  assert.throws(() => replay.resume(0), ProtocolViolation);
});

test('every frame comes once and in order, whatever the network does', () => {
  let state = 7;
  const random = (below) => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
  for (let i = 0; i < 500; i += 1) play(Array.from({ length: random(120) }, () => random(STEPS.length * 60)));
});
