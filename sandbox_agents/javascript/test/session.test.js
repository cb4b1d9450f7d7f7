'use strict';
const assert = require('node:assert/strict');
const { test } = require('node:test');
const { Encoder, decode } = require('../lib/codec');
const { ProtocolViolation, Session, TooLargeError } = require('../lib/session');

const LIMITS = { max_message: 1000, max_frame: 2000, max_depth: 16, max_batch: 4 };

function encoded(value) {
  const encoder = new Encoder();
  encoder.value(value, 64);
  return Uint8Array.from(encoder.written());
}
/** One message, or an array of them, as a frame. */
const frame = (value) => encoded([1, 0, ...(Array.isArray(value) ? value : [value])]);
const request = (id, method = 'activate', params = {}) => ({ jsonrpc: '2.0', id, method, params });
const read = (bytes) => decode(bytes, 64);

test('a request is answered with the same id, of the same type', () => {
  const session = new Session(LIMITS);
  for (const id of [1, '1', 0, -5, 2n ** 62n, 'x'.repeat(64)]) {
    const [event] = session.receive(frame(request(id, 'load', { a: 1 })));
    assert.deepEqual(event, { kind: 'request', id, method: 'load', params: { a: 1 } });
    assert.deepEqual(read(session.respond(id, { ok: true })), { jsonrpc: '2.0', id, result: { ok: true } });
  }
});

test('several messages of one frame come in order', () => {
  const session = new Session(LIMITS);
  const events = session.receive(frame([request(1), { jsonrpc: '2.0', method: 'cancel', params: { id: 1 } }, request('1')]));
  assert.deepEqual(events.map((event) => [event.kind, event.id]), [['request', 1], ['notification', undefined], ['request', '1']]);
});

test('params may be left out, and unknown members are ignored', () => {
  const session = new Session(LIMITS);
  const [event] = session.receive(frame({ jsonrpc: '2.0', id: 1, method: 'stop', later: true }));
  assert.deepEqual(event.params, {});
});

test('a question has exactly one outcome', () => {
  const session = new Session(LIMITS);
  const { id, bytes } = session.request('state.fetch', { keys: ['a'] });
  assert.deepEqual(read(bytes), { jsonrpc: '2.0', id, method: 'state.fetch', params: { keys: ['a'] } });
  const [outcome] = session.receive(frame({ jsonrpc: '2.0', id, result: {} }));
  assert.deepEqual(outcome, { kind: 'outcome', id, method: 'state.fetch', result: {} });
  assert.throws(() => session.receive(frame({ jsonrpc: '2.0', id, result: {} })), ProtocolViolation);
  assert.throws(() => session.receive(frame({ jsonrpc: '2.0', id: 99, result: {} })), ProtocolViolation);
});

test('the outcome may be an error', () => {
  const session = new Session(LIMITS);
  const { id } = session.request('hello', {});
  const [outcome] = session.receive(frame({ jsonrpc: '2.0', id, error: { code: -32001, message: 'no', data: { supported: [2] } } }));
  assert.deepEqual(outcome.error, { code: -32001, message: 'no', data: { supported: [2] } });
});

test('an answer that cannot be written leaves the request open', () => {
  const session = new Session(LIMITS);
  session.receive(frame(request(1)));
  assert.throws(() => session.respond(1, { bad: () => 1 }), /function/);
  assert.throws(() => session.respond(1, { big: 'x'.repeat(3000) }), TooLargeError);
  assert.deepEqual(read(session.fail(1, -32022, 'no')).error, { code: -32022, message: 'no' });
  assert.throws(() => session.fail(1, -32022, 'no'), /second answer/);
});

test('pings are passed over: the thread of the link answers them', () => {
  const session = new Session(LIMITS);
  assert.deepEqual(session.receive(frame([request(1, 'ping'), request(1, 'ping')])), []);
});

test('what is no message is a violation', () => {
  for (const message of [
    1, null, 'text', [], [[]], [1], {}, { jsonrpc: '2.0' }, { jsonrpc: '1.0', id: 1, method: 'load' }, { id: 1, method: 'load' },
    { jsonrpc: '2.0', id: 1 }, { jsonrpc: '2.0', id: null, method: 'load' }, { jsonrpc: '2.0', id: 1.5, method: 'load' },
    { jsonrpc: '2.0', id: true, method: 'load' }, { jsonrpc: '2.0', id: '', method: 'load' },
    { jsonrpc: '2.0', id: 'ä'.repeat(33), method: 'load' }, { jsonrpc: '2.0', id: [1], method: 'load' },
    { jsonrpc: '2.0', id: 1, method: '' }, { jsonrpc: '2.0', id: 1, method: 5 }, { jsonrpc: '2.0', id: 1, method: 'x'.repeat(65) },
    { jsonrpc: '2.0', id: 1, method: 'load', params: [] }, { jsonrpc: '2.0', id: 1, method: 'load', params: null },
    { jsonrpc: '2.0', id: 1, method: 'load', result: 1 }, { jsonrpc: '2.0', id: 7, result: 1 },
    Array.from({ length: 5 }, (_, id) => request(id)), [request(1), request(1)],
  ]) {
    assert.throws(() => new Session(LIMITS).receive(frame(message)), ProtocolViolation, JSON.stringify(message));
  }
});

test('what is no frame is a violation', () => {
  for (const content of [1, null, [], [1], [1, 0], request(1)]) {
    assert.throws(() => new Session(LIMITS).receive(encoded(content)), ProtocolViolation, JSON.stringify(content));
  }
});

test('what is as large as a frame leaves no room for its numbers', () => {
  const session = new Session({ ...LIMITS, max_frame: 500 });
  const empty = session.notify('m', { a: '' }).length;
  assert.equal(session.notify('m', { a: 'x'.repeat(477 - empty - 2) }).length, 477);
  assert.throws(() => session.notify('m', { a: 'x'.repeat(478 - empty - 2) }), TooLargeError);
});

test('a second answer, or one with two outcomes, is a violation', () => {
  for (const answer of [{ result: 1, error: { code: 1, message: '' } }, { error: { code: 1 } }, { error: 'no' }, { error: { code: 'x', message: '' } }]) {
    const session = new Session(LIMITS);
    const { id } = session.request('hello', {});
    assert.throws(() => session.receive(frame({ jsonrpc: '2.0', id, ...answer })), ProtocolViolation, JSON.stringify(answer));
  }
});

test('frames over the limits are violations', () => {
  const session = new Session(LIMITS);
  assert.throws(() => session.receive(frame(request(1, 'load', { a: 'x'.repeat(2000) }))), /over the limit/);
  const deep = JSON.parse(`${'['.repeat(15)}${']'.repeat(15)}`);
  assert.throws(() => session.receive(frame(request(1, 'load', { deep }))), /too deep/);
  assert.throws(() => session.receive(new Uint8Array(0)), ProtocolViolation);
  assert.throws(() => session.receive(Uint8Array.of(0xd4, 0, 0)), ProtocolViolation);
});
