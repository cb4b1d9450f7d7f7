'use strict';
const assert = require('node:assert/strict');
const { test } = require('node:test');
const { Encoder, decode } = require('../lib/codec');
const { hello, readAnswer } = require('../lib/opening');
const { ProtocolViolation } = require('../lib/session');

function encoded(value) {
  const encoder = new Encoder();
  encoder.value(value, 64);
  return Uint8Array.from(encoder.written());
}

const LIMITS = { max_frame: 100, max_message: 50, max_depth: 20, max_batch: 4 };
const RESULT = { protocol: 1, session: 's', limits: LIMITS, resume_window_ms: 500 };
const answer = (members) => encoded({ jsonrpc: '2.0', id: 'hello', ...members });

test('hello says who it is, and what came when it comes back', () => {
  assert.deepEqual(decode(hello({ runtime: 'javascript' }, null), 8), {
    jsonrpc: '2.0', id: 'hello', method: 'hello', params: { protocol: [1], runtime: 'javascript' },
  });
  assert.deepEqual(decode(hello({}, 0), 8).params, { protocol: [1], resume: { received: 0 } });
});

test('a welcome', () => {
  assert.deepEqual(readAnswer(answer({ result: RESULT }), false), {
    welcome: { secret: 's', windowMs: 500, received: 0, limits: LIMITS },
  });
  assert.deepEqual(readAnswer(answer({ result: { ...RESULT, resumed: true, received: 7 } }), true).welcome.received, 7);
});

test('a refusal', () => {
  assert.deepEqual(readAnswer(answer({ error: { code: -32002, message: 'no such session' } }), true), {
    refused: 'no such session',
  });
});

test('what is no answer is a violation', () => {
  for (const [members, resumes] of [
    [{}, false], [{ result: {} }, false], [{ result: { ...RESULT, protocol: 2 } }, false], [{ result: { ...RESULT, limits: 5 } }, false],
    [{ result: { ...RESULT, session: 5 } }, false], [{ result: { ...RESULT, limits: { max_depth: 0 } } }, false],
    [{ result: { ...RESULT, resume_window_ms: -1 } }, false], [{ result: { ...RESULT, resumed: true, received: 1.5 } }, true],
    [{ result: { ...RESULT, resumed: true } }, false], [{ result: RESULT }, true], [{ id: 1, result: RESULT }, false],
  ]) {
    assert.throws(() => readAnswer(answer(members), resumes), ProtocolViolation, JSON.stringify(members));
  }
  assert.throws(() => readAnswer(Uint8Array.of(0xc1), false), ProtocolViolation);
});
