'use strict';
const assert = require('node:assert/strict');
const { test } = require('node:test');
const arrays = require('../lib/arrays');
const { Encoder } = require('../lib/codec');
const { MalformedError } = require('../lib/errors');

/** The content of the extension that an array becomes, `start` bytes into its message, in a buffer of its own. */
function contentOf(view, start = 0) {
  const encoder = new Encoder(16);
  encoder.origin = 0;
  encoder.raw(new Uint8Array(start));
  arrays.write(encoder, view);
  const written = Buffer.from(Uint8Array.prototype.slice.call(encoder.written()).buffer);
  const size = { 0xc7: 3, 0xc8: 4, 0xc9: 6 }[written[start]] ?? 2;
  return { whole: written, at: start + size };
}

const ALL = [
  Int8Array, Int16Array, Int32Array, BigInt64Array, Uint8Array, Uint16Array, Uint32Array, BigUint64Array, Float32Array, Float64Array,
];

test('every kind comes back, of any size, with its shape', () => {
  for (const type of ALL) {
    for (const length of [0, 1, 6, 1024]) {
      const view = new type(length).fill(type.name.startsWith('Big') ? 3n : 3);
      const { whole, at } = contentOf(view);
      const back = arrays.read(whole, at, whole.length);
      assert.deepEqual(back, view);
      assert.deepEqual(back.shape, [length]);
    }
  }
  const { whole, at } = contentOf(Object.assign(new Int16Array(6), { shape: [2, 3] }));
  assert.deepEqual(arrays.read(whole, at, whole.length).shape, [2, 3]);
});

test('a large array is aligned wherever it begins, and then looked at where it lies', () => {
  for (const type of ALL) {
    const view = new type(1024 / type.BYTES_PER_ELEMENT);
    for (let start = 0; start < 20; start += 1) {
      const { whole, at } = contentOf(view, start);
      const back = arrays.read(whole, at, whole.length);
      assert.equal(back.byteOffset % type.BYTES_PER_ELEMENT, 0);
      assert.equal(back.buffer, whole.buffer);
    }
  }
});

test('what lies askew, or is small, is copied', () => {
  const { whole, at } = contentOf(new Float64Array(128).fill(1.5));
  const moved = Buffer.from(new ArrayBuffer(whole.length + 1));
  whole.copy(moved, 1);
  const back = arrays.read(moved, at + 1, moved.length);
  assert.notEqual(back.buffer, moved.buffer);
  assert.deepEqual(back, new Float64Array(128).fill(1.5));
  const small = contentOf(Float64Array.of(1.5));
  assert.notEqual(arrays.read(small.whole, small.at, small.whole.length).buffer, small.whole.buffer);
});

test('a shape is no element, and may be set', () => {
  const { whole, at } = contentOf(Int8Array.of(1, 2));
  const back = arrays.read(whole, at, whole.length);
  assert.deepEqual(Object.keys(back), ['0', '1']);
  back.shape = [1, 2];
  assert.deepEqual(arrays.shapeOf(back), [1, 2]);
});

test('a shape that an array has not is refused', () => {
  for (const shape of [[], [3], [2, 2], [1.5, 2], ['2', 1], [-2, -1], [2, 1, 0], [1, 1, 1, 1, 1, 1, 1, 1, 2]]) {
    assert.throws(() => arrays.shapeOf(Object.assign(Int8Array.of(1, 2), { shape })), /has not the shape/, String(shape));
  }
  assert.deepEqual(arrays.shapeOf(Object.assign(new Int8Array(0), { shape: [0, 5] })), [0, 5]);
});

test('what is an array of numbers, and what is not', () => {
  assert.equal(arrays.elementOf(Buffer.from('a'))?.name, 'uint8');
  assert.equal(arrays.elementOf(new Uint8ClampedArray(1))?.name, 'uint8');
  for (const value of [null, undefined, 5, [1], 'a', new DataView(new ArrayBuffer(1)), new ArrayBuffer(1), {}]) {
    assert.equal(arrays.elementOf(value), undefined);
  }
  assert.equal(arrays.isBytes(Buffer.from('a')), true);
  assert.equal(arrays.isBytes(Object.assign(Uint8Array.of(1), { shape: [1] })), false);
  assert.equal(arrays.isBytes(Int8Array.of(1)), false);
});

test('numbers in arrays in arrays', () => {
  const of = (shape) => arrays.toArrays(Object.assign(Int8Array.from({ length: shape.reduce((a, b) => a * b) }, (_, i) => i), { shape }));
  assert.deepEqual(of([3]), [0, 1, 2]);
  assert.deepEqual(of([2, 3]), [[0, 1, 2], [3, 4, 5]]);
  assert.deepEqual(of([2, 1, 2]), [[[0, 1]], [[2, 3]]]);
  assert.deepEqual(of([0, 5]), []);
  assert.deepEqual(arrays.toArrays(Int8Array.of(1)), [1]);
});

test('random content gives an array or a MalformedError, and nothing else', () => {
  let seed = 4711;
  const random = () => (seed = (seed * 1103515245 + 12345) & 0x7fffffff) >>> 16;
  let found = 0;
  for (let round = 0; round < 5000; round += 1) {
    const content = Buffer.from(Array.from({ length: random() % 30 }, (_, i) => (i > 1 && random() % 2 ? 0 : random() & 0xff)));
    if (content.length > 1 && random() % 2) content[1] &= 7;
    try {
      const view = arrays.read(content, 0, content.length);
      assert.equal(view.shape.reduce((a, b) => a * b, 1), view.length);
      found += 1;
    } catch (error) {
      assert.ok(error instanceof MalformedError, String(error));
    }
  }
  assert.ok(found > 50, String(found));
});
