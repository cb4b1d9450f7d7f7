'use strict';
/** The vectors of specs/vectors, which every implementation must pass, in JavaScript. */
const assert = require('node:assert/strict');
const { readFileSync } = require('node:fs');
const { join } = require('node:path');
const { test } = require('node:test');
const arrays = require('../lib/arrays');
const codec = require('../lib/codec');
const { MESSAGE, decodeAt } = require('../lib/forms');
const { Message, MalformedMessageError } = require('../lib/message');
const { readHeader } = require('../lib/frames');
const { Arrival, Replay } = require('../lib/replay');
const { ProtocolViolation, Session } = require('../lib/session');
const text = require('../lib/text');

const file = (name) => JSON.parse(readFileSync(join(__dirname, '../../../specs/vectors', name), 'utf8'));
const messages = file('messages.json');
const frames = file('frames.json');

const DEPTH = messages.max_depth;

/** The value that a description stands for. */
function described(value) {
  if (Array.isArray(value)) return value.map(described);
  if (typeof value !== 'object' || value === null) return value;
  if ('$int' in value) return codec.narrow(BigInt(value.$int));
  if ('$float' in value) return Number(value.$float);
  if ('$bytes' in value) return Buffer.from(described(value.$bytes), 'hex');
  if ('$repeat' in value) {
    const [item, times] = value.$repeat;
    return Array.isArray(item) ? Array.from({ length: times }, () => described(item)).flat() : item.repeat(times);
  }
  if ('$array' in value) {
    const { element, shape, data } = value.$array;
    return arrays.fromParts(element, shape, unhex(data));
  }
  // Not an assignment, for which `__proto__` is no key like any other.
  return Object.fromEntries(Object.entries(value).map(([key, member]) => [key, described(member)]));
}

/** @param {string | (string | [string, number])[]} parts */
function unhex(parts) {
  if (typeof parts === 'string') return Buffer.from(parts, 'hex');
  return Buffer.concat(parts.map((part) => Buffer.from(typeof part === 'string' ? part : part[0].repeat(part[1]), 'hex')));
}

const read = (bytes) => decodeAt(bytes, DEPTH, MESSAGE);
const decode = (bytes) => Message.decode(read(bytes));

/** @param {{type: string, value: any}} read a message as vectors describe it */
function pairOf(read) {
  if (read.type === 'option') return ['option', read.value === null ? null : pairOf(read.value)];
  return [read.type, Message.decode(read).unwrap()];
}

/** Arrays say of what kind they are, and what is in them to the last bit. */
function bare(value) {
  if (Array.isArray(value)) return value.map(bare);
  if (arrays.elementOf(value) !== undefined && !arrays.isBytes(value)) {
    const data = Buffer.from(value.buffer, value.byteOffset, value.byteLength);
    return { element: arrays.elementOf(value).name, shape: arrays.shapeOf(value), data: data.toString('hex') };
  }
  if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([key, member]) => [key, bare(member)]));
}

/** @param {Message} message */
function encode(message) {
  const encoder = new codec.Encoder();
  message.encode(encoder, DEPTH);
  return Buffer.from(encoder.written());
}

/** The message of a described pair, made as a script makes it. */
function made([type, value]) {
  return new Message(type, type === 'option' && value !== null ? made(value) : value);
}

test('messages are decoded', () => {
  assert.ok(messages.valid.length > 0);
  for (const { name, message, hex } of messages.valid) {
    assert.deepEqual(bare(pairOf(read(unhex(hex)))), bare(described(message)), name);
  }
});

test('messages are encoded', () => {
  for (const { name, message, hex, canonical = true } of messages.valid) {
    const encoded = encode(made(described(message)));
    if (canonical) assert.equal(encoded.toString('hex'), unhex(hex).toString('hex'), name);
    else assert.deepEqual(bare(pairOf(read(encoded))), bare(described(message)), name);
  }
});

test('what is no message is refused', () => {
  assert.ok(messages.invalid.length > 0);
  for (const { name, hex } of messages.invalid) {
    assert.throws(
      () => decode(unhex(hex)),
      (error) => error instanceof MalformedMessageError || error instanceof codec.MalformedError,
      name,
    );
  }
});

/** What the link's thread finds a vector's frame to be. */
function arrival(frame) {
  const { number, acknowledged } = readHeader(frame);
  return new Replay().arrived(number, acknowledged, frame.length);
}

const frameOf = ({ hex, text: content }) => (content === undefined ? unhex(hex) : fromText(content));

/** A session as the vector asks for, and what it makes of the vector's frame. */
function events({ asked = 0, ...vector }) {
  const frame = frameOf(vector);
  const session = new Session(frames.limits);
  for (let n = 0; n < asked; n += 1) session.request('m', {});
  if (arrival(frame) === Arrival.ACKNOWLEDGEMENT) return [];
  return session.receive(frame).map((event) => {
    if (event.kind !== 'outcome') return event;
    const { id, result, error } = event;
    return error ? { kind: 'error', id, code: error.code, message: error.message } : { kind: 'result', id, result };
  });
}

/** As the link's thread reads text frames: what cannot be read is a violation. */
function fromText(frame) {
  try {
    return text.decode(frame);
  } catch (error) {
    throw new ProtocolViolation(error.message);
  }
}

test('frames are read', () => {
  assert.ok(frames.valid.length > 0);
  for (const vector of frames.valid) assert.deepEqual(events(vector), described(vector.events), vector.name);
});

test('a frame before which one is missing is of no use', () => {
  assert.ok(frames.gaps.length > 0);
  for (const vector of frames.gaps) assert.equal(arrival(frameOf(vector)), Arrival.GAP, vector.name);
});

test('what is no frame is refused', () => {
  assert.ok(frames.invalid.length > 0);
  for (const vector of frames.invalid) assert.throws(() => events(vector), ProtocolViolation, vector.name);
});
