'use strict';
/**
 * Typed arrays: numbers of one kind, as raw bytes, that are looked at where they lie and not copied.
 *
 * It decides which of JavaScript's typed arrays are which, and how their bytes are laid out in a message
 * (specs/protocol.md §3). An array of more than one dimension is a flat one, in C order, with a `shape`; one that arrived
 * always has a shape, and so is told from bytes, which have none. Processors are taken to be little-endian.
 */

const { EncodeError, MalformedError } = require('./errors');

const ARRAY_CODE = 6;
const MAX_DIMENSIONS = 8;
const MAX_DIMENSION = 2 ** 32 - 1;
/**
 * Bytes from which on an array is aligned in its message, and looked at where it lies. A smaller one is copied, so that
 * a script that keeps it does not keep the frame that it came in.
 */
const ALIGNED = 1024;
/** Bytes of an extension's longest header, which every aligned array has. */
const LONG_HEADER = 6;

const PADDING_SHIFT = 4;
const PADDING_MASK = 0x07;
const ELEMENT_MASK = 0x0f;
const HAS_SHAPE = 0x80;

/** @typedef {{code: number, name: string, type: any}} Element */

/** @type {Element[]} */
const ELEMENTS = [
  ['int8', Int8Array], ['int16', Int16Array], ['int32', Int32Array], ['int64', BigInt64Array],
  ['uint8', Uint8Array], ['uint16', Uint16Array], ['uint32', Uint32Array], ['uint64', BigUint64Array],
  ['float32', Float32Array], ['float64', Float64Array],
].map(([name, type], index) => ({ code: index + 1, name, type }));

/** @type {Map<string, Element>} */
const ELEMENT_NAMED = new Map(ELEMENTS.map((element) => [element.name, element]));
/** @type {Map<string, Element>} by what a typed array says it is, which is the same in every realm */
const ELEMENT_OF_TAG = new Map(ELEMENTS.map((element) => [element.type.name, element]));
ELEMENT_OF_TAG.set('Uint8ClampedArray', /** @type {Element} */ (ELEMENT_NAMED.get('uint8')));

/** @param {any} view @returns {Element | undefined} none for half floats, nor for what is no typed array */
function elementOf(view) {
  return ArrayBuffer.isView(view) ? ELEMENT_OF_TAG.get(view[Symbol.toStringTag]) : undefined;
}

/** @param {any} view @returns {boolean} whether it is bytes: of eight bits, and nothing says that they are numbers */
function isBytes(view) {
  return (view instanceof Uint8Array || view instanceof Uint8ClampedArray) && !Array.isArray(/** @type {any} */ (view).shape);
}

/** @param {any} view @returns {number[]} @throws {EncodeError} the shape that it was given is not its own */
function shapeOf(view) {
  const { shape, length } = view;
  if (!Array.isArray(shape)) return [length];
  if (!isShape(shape) || shape.reduce((a, b) => a * b, 1) !== length) {
    throw new EncodeError(`an array of ${length} elements has not the shape [${shape.slice(0, 10).join(', ')}]`);
  }
  return shape;
}

/**
 * Only the first dimension may be 0: what is empty is then an empty array, and not very many of them.
 * @param {any[]} shape
 */
function isShape(shape) {
  const isDimension = (dimension, index) =>
    Number.isInteger(dimension) && dimension >= (index === 0 ? 0 : 1) && dimension <= MAX_DIMENSION;
  return shape.length >= 1 && shape.length <= MAX_DIMENSIONS && shape.every(isDimension);
}

/** @param {Element} element @param {number[]} shape @param {ArrayBufferLike} buffer @param {number} offset @param {number} length */
function made({ type }, shape, buffer, offset, length) {
  // Not enumerable: it is no element, and two equal arrays stay equal.
  return Object.defineProperty(new type(buffer, offset, length), 'shape', { value: shape, writable: true, configurable: true });
}

/**
 * @param {import('./codec').Encoder} encoder
 * @param {any} view a typed array
 * @throws {EncodeError}
 */
function write(encoder, view) {
  const element = /** @type {Element} */ (elementOf(view));
  const shape = shapeOf(view);
  const size = view.BYTES_PER_ELEMENT;
  const before = shape.length === 1 ? 1 : 2 + 4 * shape.length;
  const isAligned = view.byteLength >= ALIGNED;
  const padding = isAligned ? (size - ((encoder.pos - encoder.origin + LONG_HEADER + before) % size)) % size : 0;
  encoder.extensionHeader(ARRAY_CODE, before + padding + view.byteLength, isAligned);
  let at = encoder.reserve(before + padding);
  const { buffer } = encoder;
  buffer[at] = element.code | (padding << PADDING_SHIFT) | (shape.length === 1 ? 0 : HAS_SHAPE);
  at += 1;
  if (shape.length > 1) {
    buffer[at] = shape.length;
    at += 1;
    for (const dimension of shape) at = buffer.writeUInt32LE(dimension, at);
  }
  buffer.fill(0, at, at + padding);
  encoder.raw(new Uint8Array(view.buffer, view.byteOffset, view.byteLength));
}

/**
 * The array in the content of an extension, over the same memory where it is large and lies right in it.
 * @param {Buffer} bytes
 * @param {number} start of the content
 * @param {number} end
 * @returns {any} a typed array with a `shape`
 * @throws {MalformedError}
 */
function read(bytes, start, end) {
  if (start === end) throw new MalformedError('an array without an element type');
  const first = bytes[start];
  const element = ELEMENTS[(first & ELEMENT_MASK) - 1];
  if (element === undefined) throw new MalformedError(`an array of elements of an unknown kind, ${first & ELEMENT_MASK}`);
  const said = (first & HAS_SHAPE) === 0 ? null : readShape(bytes, start + 1, end);
  const data = start + (said === null ? 1 : 2 + 4 * said.length);
  const from = data + ((first >> PADDING_SHIFT) & PADDING_MASK);
  if (from > end || bytes.subarray(data, from).some((byte) => byte !== 0)) {
    throw new MalformedError('an array whose padding is not zeros');
  }
  const size = element.type.BYTES_PER_ELEMENT;
  const length = (end - from) / size;
  const shape = said ?? [length];
  if (!Number.isInteger(length) || !isProduct(shape, length)) {
    throw new MalformedError(`an array of ${end - from} bytes does not hold [${shape.join(', ')}] elements of ${size}`);
  }
  const offset = bytes.byteOffset + from;
  if (end - from >= ALIGNED && offset % size === 0) return made(element, shape, bytes.buffer, offset, length);
  return made(element, shape, bytes.buffer.slice(offset, offset + (end - from)), 0, length);
}

/** @param {Buffer} bytes @param {number} at @param {number} end @returns {number[]} */
function readShape(bytes, at, end) {
  const count = at < end ? bytes[at] : 0;
  if (count < 2 || count > MAX_DIMENSIONS || at + 1 + 4 * count > end) {
    throw new MalformedError(`an array has 1 to ${MAX_DIMENSIONS} dimensions, and says them all`);
  }
  const shape = Array.from({ length: count }, (_, index) => bytes.readUInt32LE(at + 1 + 4 * index));
  if (!isShape(shape)) throw new MalformedError('an array of which a dimension other than the first is 0');
  return shape;
}

/** @param {number[]} shape @param {number} length whether it is their product, which may be beyond what is exact */
function isProduct(shape, length) {
  let product = 1;
  for (const dimension of shape) {
    product *= dimension;
    if (product > length) return false;
  }
  return product === length;
}

/** @param {any} view a typed array @returns {any[]} its numbers, in arrays in arrays as its shape says */
function toArrays(view) {
  const shape = Array.isArray(view.shape) ? view.shape : [view.length];
  let numbers = Array.from(view);
  for (const dimension of shape.slice(1).reverse()) {
    numbers = Array.from({ length: numbers.length / dimension }, (_, i) => numbers.slice(i * dimension, (i + 1) * dimension));
  }
  return numbers;
}

/** @param {string} name @param {any} shape @param {Uint8Array} data @returns {any} @throws {EncodeError} they do not fit one another */
function fromParts(name, shape, data) {
  const element = ELEMENT_NAMED.get(name);
  if (element === undefined) throw new EncodeError(`there are no elements called ${String(name).slice(0, 40)}`);
  const length = data.length / element.type.BYTES_PER_ELEMENT;
  if (!Array.isArray(shape) || !isShape(shape) || !isProduct(shape, length)) {
    throw new EncodeError(`an array of ${data.length} bytes, and its shape says otherwise`);
  }
  return made(element, shape, Uint8Array.prototype.slice.call(data).buffer, 0, length);
}

module.exports = { ARRAY_CODE, LONG_HEADER, elementOf, fromParts, isBytes, read, shapeOf, toArrays, write };
