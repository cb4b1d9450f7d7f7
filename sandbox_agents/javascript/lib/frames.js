'use strict';
/**
 * Frames: `[number, acknowledged, message…]`, in MessagePack or in text (specs/protocol.md §2).
 *
 * It decides how messages that are encoded already are put into a frame, and reads the two numbers of one without
 * looking at its messages, which is the session's matter.
 */

const { Encoder } = require('./codec');
const { FRAME_BYTES, ProtocolViolation } = require('./session');

/**
 * A frame as it was made: its messages begin at `start`, and it acknowledges `acknowledged`.
 * @typedef {{data: Uint8Array | string, start: number, messages: number, acknowledged: number}} Frame
 */

/**
 * @param {Uint8Array[]} messages encoded, at least one
 * @param {number} number
 * @param {number} acknowledged
 * @param {number | null} textDepth null for MessagePack; for text, how deep messages may be nested
 * @returns {Frame}
 */
function make(messages, number, acknowledged, textDepth) {
  if (textDepth !== null) {
    const start = `[${number},${acknowledged},`;
    const body = require('./text').encode(messages, textDepth);
    return { data: `${start}${body}]`, start: start.length, messages: messages.length, acknowledged };
  }
  header.reset();
  writeHeader(header, messages.length, number, acknowledged);
  const start = header.pos;
  let size = start;
  for (const message of messages) size += message.length;
  const data = Buffer.allocUnsafe(size);
  data.set(header.written());
  let at = start;
  for (const message of messages) {
    data.set(message, at);
    at += message.length;
  }
  return { data, start, messages: messages.length, acknowledged };
}

/** What headers are written with before it is known how long a frame is. */
const header = new Encoder(64);

/**
 * What is sent of a frame: as it was made, but for what has been received since.
 * @param {Frame} frame
 * @param {number} number
 * @param {number} acknowledged
 * @returns {Uint8Array | string}
 */
function withAcknowledged({ data, start, messages, acknowledged: former }, number, acknowledged) {
  if (former === acknowledged) return data;
  if (typeof data === 'string') return `[${number},${acknowledged},${data.slice(start)}`;
  const encoder = new Encoder(FRAME_BYTES + data.length - start);
  writeHeader(encoder, messages, number, acknowledged);
  encoder.raw(data.subarray(start));
  return encoder.written();
}

/** @param {number} acknowledged @param {boolean} inText @returns {Uint8Array | string} a frame without messages */
function acknowledgement(acknowledged, inText) {
  if (inText) return `[0,${acknowledged}]`;
  const encoder = new Encoder(FRAME_BYTES);
  writeHeader(encoder, 0, 0, acknowledged);
  return encoder.written();
}

/** @param {Encoder} encoder @param {number} messages @param {number} number @param {number} acknowledged */
function writeHeader(encoder, messages, number, acknowledged) {
  encoder.arrayHeader(messages + 2);
  encoder.integer(number);
  encoder.integer(acknowledged);
}

/**
 * The numbers of a frame.
 * @param {Uint8Array} bytes MessagePack
 * @returns {{number: number, acknowledged: number}}
 * @throws {ProtocolViolation} it has none
 */
function readHeader(bytes) {
  const head = bytes[0];
  let count = head & 0x0f;
  let at = 1;
  if (head === 0xdc || head === 0xdd) {
    at = head === 0xdc ? 3 : 5;
    count = unsigned(bytes, 1, at - 1);
  } else if (!(head >= 0x90 && head <= 0x9f)) {
    throw new ProtocolViolation('a frame is an array');
  }
  const number = bytes[at] <= 0x7f ? bytes[at] : long(bytes, at);
  at += 1 + extra(bytes[at]);
  const acknowledged = bytes[at] <= 0x7f ? bytes[at] : long(bytes, at);
  if (count < 2 || (number === 0) !== (count === 2)) {
    throw new ProtocolViolation('a frame without messages has the number 0, and no other has');
  }
  return { number, acknowledged };
}

/** How many bytes follow the head of an integer. @param {number} head @returns {number} */
function extra(head) {
  if (head >= 0xcc && head <= 0xcf) return 1 << (head - 0xcc);
  return head >= 0xd0 && head <= 0xd3 ? 1 << (head - 0xd0) : 0;
}

/** @param {Uint8Array} bytes @param {number} at @returns {number} an integer of more than seven bits */
function long(bytes, at) {
  const head = bytes[at];
  const length = extra(head);
  const isSigned = head >= 0xd0;
  if (length === 0 || (isSigned && bytes[at + 1] > 0x7f)) {
    throw new ProtocolViolation('a frame begins with two numbers from 0 to 2^53-1');
  }
  return unsigned(bytes, at + 1, length);
}

/** @param {Uint8Array} bytes @param {number} at @param {number} length @returns {number} */
function unsigned(bytes, at, length) {
  if (at + length > bytes.length) throw new ProtocolViolation('a frame ends before its messages begin');
  let value = 0;
  for (let i = at; i < at + length; i += 1) value = value * 256 + bytes[i];
  if (value > Number.MAX_SAFE_INTEGER) throw new ProtocolViolation('a frame begins with two numbers from 0 to 2^53-1');
  return value;
}

module.exports = { acknowledgement, make, readHeader, withAcknowledged };
