'use strict';
/**
 * Text frames: JSON in the place of MessagePack, for peers and people that have no other.
 *
 * It decides how the two correspond. Where a message's type says what is meant, bytes are base64, and NaN and the
 * infinities, for which JSON has no words, are their names. Inside other values bytes become base64 all the same, and
 * such numbers null.
 */

const json = require('./json');
const { Encoder } = require('./codec');
const { isMap } = require('./session');

const MAX_DEPTH = 512;
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;
const NOT_FINITE = new Map([['NaN', NaN], ['Infinity', Infinity], ['-Infinity', -Infinity]]);

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
    if (isMap(inputs)) for (const input of Object.values(inputs)) read(input);
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

/** Puts the value in the place of its text. @param {any} message `[type, value]`, or something that is none */
function read(message) {
  if (!Array.isArray(message)) return;
  const [type, value] = message;
  // What is left as it is is a string where none may be, and refused for that.
  if (type === 'option') read(value);
  else if (type === 'bytes' && typeof value === 'string' && BASE64.test(value)) message[1] = Buffer.from(value, 'base64');
  else if (type === 'float' && NOT_FINITE.has(value)) message[1] = NOT_FINITE.get(value);
}

/** @param {any[]} messages decoded from MessagePack; may be changed @returns {string} as they stand in a frame */
function encode(messages) {
  for (const { method, params, result } of messages) {
    if (method === 'send') write(params.message);
    else if (Array.isArray(result?.outputs)) for (const [, message] of result.outputs) write(message);
  }
  return messages.map(textOf).join(',');
}

/** Puts the name in the place of a number that JSON cannot say. @param {any} message `[type, value]` */
function write(message) {
  const [type, value] = message;
  if (type === 'option' && value !== null) write(value);
  else if (type === 'float' && !Number.isFinite(value)) message[1] = String(value);
}

/** @param {any} value decoded from MessagePack @returns {string} */
function textOf(value) {
  if (typeof value === 'bigint') return String(value);
  if (typeof value === 'number') return Number.isFinite(value) ? json.stringify(value) : 'null';
  if (value instanceof Uint8Array) return JSON.stringify(Buffer.from(value).toString('base64'));
  if (Array.isArray(value)) return `[${value.map(textOf).join(',')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  return `{${Object.entries(value).map(([key, member]) => `${JSON.stringify(key)}:${textOf(member)}`).join(',')}}`;
}

module.exports = { decode, encode };
