'use strict';
/**
 * What a script's result means: which message goes to which port, and how messages are put on the wire.
 *
 * An object or a Map gives ports and values; anything else goes to the only outport, else to `output`; null and
 * undefined send nothing. Whether a port exists and takes the type is decided by the supervisor.
 */

const { EncodeError, Encoder } = require('./codec');
const { Message, nameOf } = require('./message');
const { placeOf } = require('./place');
const { TooLargeError } = require('./session');

const DEFAULT_PORT = 'output';
const MAX_PORT_BYTES = 256;
/**
 * How deep the value of a message stands in a commit, at most: batch, response, result, outputs, the pair of port and
 * message, and in text the pair of type and value.
 */
const MESSAGE_DEPTH = 6;
/** How deep the place of a mistake is looked for. */
const SEARCH_DEPTH = 64;

/** The script's result cannot be sent. The message names the place in it. */
class UnsendableError extends TypeError {
  /** @param {string} message */
  constructor(message) {
    super(message);
    this.name = 'UnsendableError';
  }
}

/**
 * @param {any} result what the script returned
 * @param {string[] | null} outports null where the actor declares none
 * @returns {[string, any][]} ports with messages or plain values
 */
function outputsOf(result, outports) {
  if (result === null || result === undefined) return [];
  const entries = isPortMap(result)
    ? result instanceof Map ? [...result] : Object.entries(result)
    : [[outports !== null && outports.length === 1 ? outports[0] : DEFAULT_PORT, result]];
  return entries.filter(([, value]) => value !== null && value !== undefined);
}

/** @param {any} value */
function isPortMap(value) {
  if (typeof value !== 'object') return false;
  const prototype = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null || value instanceof Map;
}

/**
 * @param {import('./codec').Encoder} encoder
 * @param {string} port
 * @param {any} value a message or a plain value
 * @param {import('./session').Limits} limits
 * @throws {UnsendableError}
 */
function encodeOutput(encoder, port, value, limits) {
  if (typeof port !== 'string') throw new UnsendableError(`a port is a name, not ${nameOf(port)}`);
  const length = Buffer.byteLength(port);
  if (length < 1 || length > MAX_PORT_BYTES) {
    throw new UnsendableError(`a port's name has 1 to ${MAX_PORT_BYTES} bytes, not ${length}: ${JSON.stringify(port.slice(0, 40))}`);
  }
  const start = encoder.pos;
  try {
    Message.of(value).encode(encoder, limits.max_depth - MESSAGE_DEPTH);
  } catch (error) {
    if (!(error instanceof EncodeError)) throw error;
    const plain = value instanceof Message ? value.unwrap() : value;
    throw new UnsendableError(`outputs.${port}${placeOf(plain, error.message, complaintAbout)}: ${error.message}`);
  }
  const size = encoder.pos - start;
  if (size > limits.max_message) {
    throw new UnsendableError(
      `outputs.${port}: the message has ${size} bytes; ${limits.max_message} is the most (send it in parts)`,
    );
  }
}

/** @param {any} value @returns {string | null} what the encoder says about it */
function complaintAbout(value) {
  try {
    const encoder = new Encoder(64);
    encoder.origin = 0;
    encoder.value(value, SEARCH_DEPTH);
    return null;
  } catch (error) {
    return error.message;
  }
}

/**
 * Whether a script failed because something of it cannot be sent: a result, what it gave to `context.send`, or what a
 * constructor of `Message` refused.
 * @param {any} error
 */
function isUnsendable(error) {
  return error instanceof UnsendableError || error instanceof EncodeError || error instanceof TooLargeError;
}

module.exports = { UnsendableError, encodeOutput, isUnsendable, outputsOf };
