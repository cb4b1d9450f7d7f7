'use strict';
/**
 * The opening of a connection: `hello` and what is answered (specs/protocol.md §4), each one message in a frame without
 * numbers. It decides what of the answer is taken; what follows from it, the link's thread.
 */

const { Encoder, MalformedError, decode } = require('./codec');
const { DEFAULT_LIMITS, ProtocolViolation, isMap } = require('./session');

const PROTOCOL = 1;
const ID = 'hello';
const MAX_DEPTH = 16;

/**
 * @typedef {object} Welcome
 * @property {string} secret what opens the next connection
 * @property {number} windowMs how long the supervisor waits for it
 * @property {number} received how many of our frames it has
 * @property {import('./session').Limits} limits
 */

/**
 * @param {Record<string, any>} about this agent
 * @param {number | null} received how many frames have come over earlier connections; null for the first one
 * @returns {Uint8Array} a frame
 */
function hello(about, received) {
  const params = { protocol: [PROTOCOL], ...about, ...(received === null ? {} : { resume: { received } }) };
  const encoder = new Encoder(512);
  encoder.value({ jsonrpc: '2.0', id: ID, method: 'hello', params }, MAX_DEPTH);
  return encoder.written();
}

/**
 * @param {Uint8Array} frame MessagePack
 * @param {boolean} resumes whether a session is taken up again
 * @returns {{refused: string} | {welcome: Welcome}}
 * @throws {ProtocolViolation}
 */
function readAnswer(frame, resumes) {
  const message = decoded(frame);
  if (!isMap(message) || message.jsonrpc !== '2.0' || message.id !== ID) {
    throw new ProtocolViolation('what came is not the answer to hello');
  }
  const { result, error } = message;
  if (isMap(error) && result === undefined) return { refused: String(error.message) };
  if (!isMap(result) || result.protocol !== PROTOCOL || !isMap(result.limits) || typeof result.session !== 'string') {
    throw new ProtocolViolation('the answer to hello has no common version, no session, or no limits');
  }
  if ((result.resumed ?? false) !== resumes) {
    throw new ProtocolViolation('hello: a session was to be resumed, or a new one to be opened');
  }
  const limits = { ...DEFAULT_LIMITS };
  for (const name of /** @type {(keyof typeof limits)[]} */ (Object.keys(limits))) {
    limits[name] = natural(result.limits[name] ?? limits[name], `the limit ${name}`, 1);
  }
  return {
    welcome: {
      secret: result.session,
      windowMs: natural(result.resume_window_ms ?? 0, 'resume_window_ms', 0),
      received: natural(result.received ?? 0, 'received', 0),
      limits,
    },
  };
}

/** @param {Uint8Array} frame */
function decoded(frame) {
  try {
    return decode(frame, MAX_DEPTH);
  } catch (error) {
    if (error instanceof MalformedError) throw new ProtocolViolation(error.message);
    throw error;
  }
}

/** @param {any} value @param {string} name @param {number} least @returns {number} */
function natural(value, name, least) {
  if (!Number.isSafeInteger(value) || value < least) throw new ProtocolViolation(`${name} is no integer from ${least} on`);
  return value;
}

module.exports = { hello, readAnswer };
