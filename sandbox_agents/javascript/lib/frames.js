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
  const encoder = new Encoder(FRAME_BYTES + messages.reduce((size, message) => size + message.length, 0));
  writeHeader(encoder, messages.length, number, acknowledged);
  const start = encoder.pos;
  for (const message of messages) encoder.raw(message);
  return { data: encoder.written(), start, messages: messages.length, acknowledged };
}

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
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 0;
  try {
    const count = arrayLength();
    const number = integer();
    const acknowledged = integer();
    if (count < 2 || (number === 0) !== (count === 2)) {
      throw new ProtocolViolation('a frame without messages has the number 0, and no other has');
    }
    return { number, acknowledged };
  } catch (error) {
    if (error instanceof RangeError) throw new ProtocolViolation('a frame ends before its messages begin');
    throw error;
  }

  function arrayLength() {
    const head = view.getUint8(at++);
    if (head >= 0x90 && head <= 0x9f) return head & 0x0f;
    if (head === 0xdc) return view.getUint16((at += 2) - 2);
    if (head === 0xdd) return view.getUint32((at += 4) - 4);
    throw new ProtocolViolation('a frame is an array');
  }

  function integer() {
    const head = view.getUint8(at++);
    if (head <= 0x7f) return head;
    let value = -1;
    if (head === 0xcc) value = view.getUint8((at += 1) - 1);
    else if (head === 0xcd) value = view.getUint16((at += 2) - 2);
    else if (head === 0xce) value = view.getUint32((at += 4) - 4);
    else if (head === 0xcf) value = Number(view.getBigUint64((at += 8) - 8));
    else if (head === 0xd0) value = view.getInt8((at += 1) - 1);
    else if (head === 0xd1) value = view.getInt16((at += 2) - 2);
    else if (head === 0xd2) value = view.getInt32((at += 4) - 4);
    else if (head === 0xd3) value = Number(view.getBigInt64((at += 8) - 8));
    if (value < 0 || !Number.isSafeInteger(value)) {
      throw new ProtocolViolation('a frame begins with two numbers from 0 to 2^53-1');
    }
    return value;
  }
}

module.exports = { acknowledgement, make, readHeader, withAcknowledged };
