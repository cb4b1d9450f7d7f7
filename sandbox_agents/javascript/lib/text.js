'use strict';
/**
 * Text frames: JSON in the place of MessagePack, for peers and people that have no other.
 *
 * It decides how the two correspond: bytes are base64 where a message says that they are bytes, and NaN and infinities,
 * for which JSON has no words, are null.
 */

const json = require('./json');
const { Encoder } = require('./codec');
const { isMap } = require('./session');

const MAX_DEPTH = 512;

/**
 * @param {string} text a frame
 * @returns {Uint8Array} the same in MessagePack
 * @throws {Error} it is no JSON, or cannot be said in MessagePack
 */
function decode(text) {
  const content = json.parse(text);
  for (const message of Array.isArray(content) ? content : [content]) {
    const inputs = isMap(message) && message.method === 'activate' && isMap(message.params) && message.params.inputs;
    if (isMap(inputs)) for (const input of Object.values(inputs)) readBytes(input);
  }
  const encoder = new Encoder(text.length + 16);
  encoder.value(content, MAX_DEPTH);
  return Uint8Array.prototype.slice.call(encoder.written());
}

/** Puts bytes in the place of base64. @param {any} message `[type, value]`, or something that is none */
function readBytes(message) {
  if (!Array.isArray(message)) return;
  if (message[0] === 'option') readBytes(message[1]);
  else if (message[0] === 'bytes' && typeof message[1] === 'string') message[1] = Buffer.from(message[1], 'base64');
}

/** @param {any[]} messages at least one @returns {string} a frame */
function encode(messages) {
  return messages.length === 1 ? textOf(messages[0]) : `[${messages.map(textOf).join(',')}]`;
}

/** @param {any} value decoded from MessagePack @returns {string} */
function textOf(value) {
  if (typeof value === 'bigint') return String(value);
  if (value instanceof Uint8Array) return JSON.stringify(Buffer.from(value).toString('base64'));
  if (Array.isArray(value)) return `[${value.map(textOf).join(',')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  return `{${Object.entries(value).map(([key, member]) => `${JSON.stringify(key)}:${textOf(member)}`).join(',')}}`;
}

module.exports = { decode, encode };
