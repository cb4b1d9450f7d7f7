'use strict';
const assert = require('node:assert/strict');
const { test } = require('node:test');
const { EncodeError, Encoded, Encoder, MalformedError, decode } = require('../lib/codec');

const encode = (value, depth = 64) => {
  const encoder = new Encoder(16);
  encoder.value(value, depth);
  return Uint8Array.from(encoder.written());
};
const roundTrip = (value) => decode(encode(value), 64);
const bytes = (hex) => Uint8Array.from(Buffer.from(hex.replaceAll(' ', ''), 'hex'));

test('values come back as they were', () => {
  const values = [
    null, true, false, 0, 1, 127, 128, 255, 256, 65535, 65536, 2 ** 32 - 1, 2 ** 32, Number.MAX_SAFE_INTEGER,
    -1, -32, -33, -128, -129, -32768, -32769, -(2 ** 31), -(2 ** 31) - 1, Number.MIN_SAFE_INTEGER,
    1.5, -0, NaN, Infinity, -Infinity, 5e-324, 1e300, 2 ** 60,
    '', 'a', 'ä', 'x'.repeat(15), 'x'.repeat(31), 'x'.repeat(32), 'é'.repeat(16), 'x'.repeat(255), 'x'.repeat(256), '€'.repeat(30000),
    [], [1, [2, [3]]], Array.from({ length: 16 }, (_, i) => i), Array.from({ length: 70000 }, (_, i) => i),
    {}, { a: 1, b: { c: null } }, Object.fromEntries(Array.from({ length: 17 }, (_, i) => [`k${i}`, i])),
  ];
  for (const value of values) assert.deepEqual(roundTrip(value), value);
});

test('integers are exact up to 64 bits, and an error beyond', () => {
  for (const value of [2n ** 63n - 1n, -(2n ** 63n), 2n ** 53n, -(2n ** 53n)]) assert.equal(roundTrip(value), value);
  assert.equal(roundTrip(5n), 5);
  assert.equal(roundTrip(BigInt(Number.MAX_SAFE_INTEGER)), Number.MAX_SAFE_INTEGER);
  for (const value of [2n ** 63n, -(2n ** 63n) - 1n]) assert.throws(() => encode(value), /does not fit 64 bits/);
  assert.throws(() => decode(bytes('cf 80 00 00 00 00 00 00 00'), 1), /over 64 bits/);
});

test('the shortest form is written, as other implementations write it', () => {
  const written = (value) => Buffer.from(encode(value)).toString('hex');
  assert.equal(written(127), '7f');
  assert.equal(written(128), 'cc80');
  assert.equal(written(256), 'cd0100');
  assert.equal(written(-33), 'd0df');
  assert.equal(written(2 ** 33), 'cf0000000200000000');
  assert.equal(written({ a: [1.5] }), '81a16191cb3ff8000000000000');
  assert.equal(written(2n ** 53n), 'cf0020000000000000');
  assert.equal(written(-(2n ** 63n)), 'd38000000000000000');
  assert.equal(written(NaN), 'cb7ff8000000000000');
});

test('bytes are bytes, other typed arrays are arrays of numbers where no message is', () => {
  const data = Uint8Array.of(0, 127, 255);
  assert.deepEqual([...roundTrip(data)], [...data]);
  assert.ok(roundTrip(data) instanceof Uint8Array);
  assert.deepEqual([...roundTrip(data.buffer)], [...data]);
  assert.equal(roundTrip(new Uint8Array(70000)).length, 70000);
  assert.deepEqual(roundTrip(Float64Array.of(1, 2.5)), [1, 2.5]);
  assert.equal(encode(Float64Array.of(1))[1], 0xcb, 'a whole number of a float array stays a float');
  assert.deepEqual(roundTrip(BigInt64Array.of(1n, 2n ** 62n)), [1, 2n ** 62n]);
});

test('decoded bytes do not share the memory of the frame', () => {
  const frame = encode(Uint8Array.of(1, 2, 3));
  const value = decode(frame, 1);
  frame.fill(0);
  assert.deepEqual([...value], [1, 2, 3]);
});

test('keys that are alike are told apart, and remembered ones are the right ones', () => {
  const names = ['', 'a', 'b', 'ab', 'ba', 'aab', 'aba', 'ä', 'aä', 'äa', '\u0000', 'x'.repeat(31), 'y'.repeat(32), 'count', 'cou\u0000t', 'c0unt'];
  for (let i = 0; i < 3000; i += 1) names.push(`k${i}`, `${i}k`, `${i % 7}${i}${i % 3}`);
  for (let round = 0; round < 2; round += 1) {
    for (const name of names) assert.deepEqual(Object.keys(roundTrip({ [name]: 1 })), [name]);
  }
});

test('__proto__ is a key like any other', () => {
  const value = roundTrip(JSON.parse('{"__proto__": {"polluted": true}, "a": 1}'));
  assert.deepEqual(Object.keys(value), ['__proto__', 'a']);
  assert.equal(Object.getPrototypeOf(value), Object.prototype);
  assert.equal(value.polluted, undefined);
  assert.equal({}.polluted, undefined);
});

test('undefined is left out of objects and null in arrays', () => {
  assert.deepEqual(roundTrip({ a: undefined, b: 1 }), { b: 1 });
  assert.deepEqual(roundTrip([undefined, 1]), [null, 1]);
});

test('half of a surrogate pair becomes U+FFFD', () => {
  assert.equal(roundTrip('a\ud800b'), 'a\ufffdb');
  assert.equal(roundTrip('\ufffd'), '\ufffd');
});

test('what is no plain value is refused by name', () => {
  for (const [value, complaint] of [
    [() => 1, /a function cannot be sent/],
    [Symbol('s'), /a symbol cannot be sent/],
    [new Map(), /a Map cannot be sent/],
    [new Date(0), /a Date cannot be sent/],
    [Promise.resolve(), /a Promise cannot be sent/],
    [new (class Point {})(), /a Point cannot be sent/],
  ]) {
    assert.throws(() => encode([value]), (error) => error instanceof EncodeError && complaint.test(error.message));
  }
});

test('depth is bounded both ways', () => {
  const nested = (depth) => (depth === 0 ? 1 : [nested(depth - 1)]);
  assert.deepEqual(decode(encode(nested(5), 5), 5), nested(5));
  assert.throws(() => encode(nested(6), 5), /too deep/);
  assert.throws(() => decode(encode(nested(6), 6), 5), /too deep/);
  const loop = {};
  loop.self = loop;
  assert.throws(() => encode(loop), /contains itself/);
  assert.throws(() => decode(new Uint8Array(100000).fill(0x91), 64), /too deep/);
});

test('malformed bytes are refused', () => {
  for (const [hex, complaint] of [
    ['', /ends inside/],
    ['92 01', /ends inside/],
    ['dd ff ff ff ff', /ends inside an array/],
    ['df ff ff ff ff', /ends inside a map/],
    ['c6 ff ff ff ff 00', /ends inside/],
    ['a3 61 62', /ends inside/],
    ['01 02', /trail/],
    ['c1', /extension/],
    ['c7', /extension/],
    ['d4 00 00', /extension/],
    ['c7 01 05 00', /extension/],
    ['d6 ff 00 00 00 00', /extension/],
    ['81 01 02', /key that is not a string/],
    ['81 c0 02', /key that is not a string/],
    ['a1 ff', /not UTF-8/],
    ['a2 c3 28', /not UTF-8/],
    ['81 a1 ff 00', /not UTF-8/],
    [`d9 20 ${'ff'.repeat(32)}`, /not UTF-8/],
  ]) {
    assert.throws(() => decode(bytes(hex), 64), (error) => error instanceof MalformedError && complaint.test(error.message), hex);
  }
});

test('a cut frame never gives a value', () => {
  const whole = encode({ jsonrpc: '2.0', id: 1, params: { a: [1, 'text', 2.5, null, Uint8Array.of(1)] } });
  for (let length = 0; length < whole.length; length += 1) {
    assert.throws(() => decode(whole.subarray(0, length), 64), MalformedError);
  }
});

test('random bytes give a value or a MalformedError, and nothing else', () => {
  let seed = 12345;
  const random = () => (seed = (seed * 1103515245 + 12345) & 0x7fffffff) >>> 16;
  for (let round = 0; round < 5000; round += 1) {
    const data = Uint8Array.from({ length: random() % 40 }, random);
    try {
      decode(data, 16);
    } catch (error) {
      assert.ok(error instanceof MalformedError, String(error));
    }
  }
});

test('an extension has the shortest header there is', () => {
  for (const [length, header] of [
    [0, 'c70005'], [1, 'd405'], [2, 'd505'], [3, 'c70305'], [4, 'd605'], [8, 'd705'], [16, 'd805'], [17, 'c71105'],
    [255, 'c7ff05'], [256, 'c8010005'], [65535, 'c8ffff05'], [65536, 'c90001000005'],
  ]) {
    const encoder = new Encoder(8);
    encoder.integer(1);
    encoder.extension(5, () => encoder.raw(new Uint8Array(length).fill(7)));
    encoder.integer(2);
    assert.equal(Buffer.from(encoder.written()).toString('hex'), `01${header}${'07'.repeat(length)}02`);
    const long = new Encoder(8);
    long.extensionHeader(5, length, true);
    assert.equal(long.pos, 6);
  }
});

test('what is encoded already is put in as it is', () => {
  assert.deepEqual(roundTrip({ a: new Encoded(encode([1, 2])) }), { a: [1, 2] });
});

test('an encoder takes back what it wrote', () => {
  const encoder = new Encoder(8);
  encoder.integer(1);
  const mark = encoder.pos;
  encoder.string('x'.repeat(100));
  encoder.reset(mark);
  encoder.integer(2);
  assert.deepEqual([...encoder.written()], [1, 2]);
});
