'use strict';
/**
 * Text frames: JSON in the place of MessagePack, for peers and people that have no other.
 *
 * It decides how the two correspond. A message is `[type, value]`. Where its type says what is meant, bytes and typed
 * arrays are base64, and NaN and the infinities, for which JSON has no words, are their names. Inside other values bytes
 * become base64 all the same, typed arrays arrays, and such numbers null.
 */

const json = require('./json');
const arrays = require('./arrays');
const { Encoded, Encoder, MAX_INTEGER } = require('./codec');
const { Code, MESSAGE, decodeAt } = require('./forms');
const { Message } = require('./message');
const { isMap } = require('./session');

const MAX_DEPTH = 512;
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;
const NOT_FINITE = new Map([['NaN', NaN], ['Infinity', Infinity], ['-Infinity', -Infinity]]);
/** A stream, which is refused as a message: for what should be one and is none, since the frame is not what is wrong. */
const NO_MESSAGE = Buffer.of(0xc7, 0, Code.STREAM);

/** Where messages stand in what this side says. @type {import('./forms').Place} */
const SAID = {
  members: new Map([
    ['params', { members: new Map([['message', MESSAGE]]) }],
    ['result', { members: new Map([['outputs', { everyItem: { secondItem: MESSAGE } }]]) }],
  ]),
};

/**
 * @param {string} text a frame
 * @returns {Uint8Array} the same in MessagePack
 * @throws {Error} it is no JSON, or cannot be said in MessagePack
 */
function decode(text) {
  const content = json.parse(text);
  if (hasOverflow(content)) throw new RangeError('a number over the range of a double');
  for (const message of Array.isArray(content) ? content : [content]) {
    const inputs = isMap(message) && message.method === 'activate' && isMap(message.params) && message.params.inputs;
    if (!isMap(inputs)) continue;
    for (const [port, pair] of Object.entries(inputs)) {
      Object.defineProperty(inputs, port, { value: new Encoded(encodedOf(pair)), enumerable: true });
    }
  }
  const encoder = new Encoder(text.length + 16);
  encoder.value(content, MAX_DEPTH);
  return Uint8Array.prototype.slice.call(encoder.written());
}

/** @param {any} value parsed from JSON, where only a number that is too large becomes an infinity @returns {boolean} */
function hasOverflow(value) {
  if (typeof value === 'number') return !Number.isFinite(value);
  return typeof value === 'object' && value !== null && Object.values(value).some(hasOverflow);
}

/** @param {any} pair `[type, value]`, or something that is none @returns {Uint8Array} */
function encodedOf(pair) {
  const encoder = new Encoder(64);
  try {
    messageOf(pair).encode(encoder, MAX_DEPTH);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    return NO_MESSAGE;
  }
  return encoder.written();
}

/** @param {any} pair @returns {Message} @throws {TypeError} */
function messageOf(pair) {
  if (!Array.isArray(pair) || pair.length !== 2) throw new TypeError('a message is an array of its type and its value');
  const [type, value] = pair;
  if (type === 'option' && value !== null) return new Message(type, messageOf(value));
  if (type === 'float' && typeof value === 'bigint') return new Message(type, Number(value));
  if (type === 'float' && NOT_FINITE.has(value)) return new Message(type, NOT_FINITE.get(value));
  if (type === 'bytes') return new Message(type, bytesOf(value));
  if (type === 'array' && isMap(value)) return new Message(type, arrays.fromParts(value.element, value.shape, bytesOf(value.data)));
  return new Message(type, value);
}

/** @param {any} text base64 @returns {Uint8Array} @throws {TypeError} */
function bytesOf(text) {
  if (typeof text !== 'string' || !BASE64.test(text)) throw new TypeError('bytes are base64 in a text frame');
  return Buffer.from(text, 'base64');
}

/**
 * @param {Uint8Array[]} messages of JSON-RPC, in MessagePack; at least one
 * @param {number} maxDepth
 * @returns {string} as they stand in a frame
 */
function encode(messages, maxDepth) {
  return messages.map((message) => textOf(withPairs(decodeAt(message, maxDepth, SAID)))).join(',');
}

/** Puts `[type, value]` in the place of messages. @param {any} message of JSON-RPC @returns {any} the same one */
function withPairs(message) {
  const { method, params, result } = message;
  if (method === 'send') params.message = pairOf(params.message);
  else if (Array.isArray(result?.outputs)) for (const output of result.outputs) output[1] = pairOf(output[1]);
  return message;
}

/** @param {import('./forms').Read} read @returns {[string, any]} */
function pairOf({ type, value }) {
  switch (type) {
    case 'option': return [type, value === null ? null : pairOf(value)];
    case 'float': return [type, Number.isFinite(value) ? value : String(value)];
    case 'error': return [type, Message.decode({ type, value }).unwrap()];
    case 'array': return [type, arrays.elementOf(value) === undefined ? value : partsOf(value)];
    default: return [type, value];
  }
}

/** @param {any} view a typed array */
function partsOf(view) {
  const data = new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
  return { element: arrays.elementOf(view)?.name, shape: arrays.shapeOf(view), data };
}

/** @param {any} value decoded from MessagePack @returns {string} */
function textOf(value) {
  if (typeof value === 'bigint') return value <= MAX_INTEGER ? String(value) : 'null';
  if (typeof value === 'number') return Number.isFinite(value) ? json.stringify(value) : 'null';
  if (ArrayBuffer.isView(value)) {
    if (!arrays.isBytes(value)) return textOf(arrays.toArrays(value));
    return JSON.stringify(Buffer.from(/** @type {Uint8Array} */ (value)).toString('base64'));
  }
  if (Array.isArray(value)) return `[${value.map(textOf).join(',')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  return `{${Object.entries(value).map(([key, member]) => `${JSON.stringify(key)}:${textOf(member)}`).join(',')}}`;
}

module.exports = { decode, encode };
