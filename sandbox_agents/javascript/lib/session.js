'use strict';
/**
 * The agent's side of a link's session: JSON-RPC 2.0 in MessagePack, without any I/O.
 *
 * Feed it the frames that arrive, each once and in order (`receive` gives events); what it says (`request`, `notify`, `respond`, `fail`) comes
 * back as the bytes of one message, to be put into frames by whoever sends them. It correlates answers with questions
 * and sees that every request has exactly one outcome. It does not know what the methods mean, except that `ping` is
 * answered elsewhere (`link_worker.js`). What the peer may not do raises ProtocolViolation, after which the link
 * must be closed with 4001.
 */

const { Encoder, MalformedError } = require('./codec');
const { MESSAGE, decodeAt } = require('./forms');

const MAX_ID_BYTES = 64;
const MAX_METHOD_LENGTH = 64;
const MAX_PENDING = 4096;
const KEEP_BUFFER = 1024 * 1024;

/** What a frame takes around its messages, at most: an array and two numbers. */
const FRAME_BYTES = 23;

/** What counts until the answer to `hello` says something else. */
const DEFAULT_LIMITS = Object.freeze({
  max_message: 64 * 1024 * 1024,
  max_frame: 80 * 1024 * 1024,
  max_depth: 64,
  max_batch: 1024,
});

const Code = Object.freeze({
  INVALID_REQUEST: -32600,
  METHOD_NOT_FOUND: -32601,
  INVALID_PARAMS: -32602,
  CANCELLED: -32800,
  DEADLINE_EXCEEDED: -32801,
  SKIPPED: -32010,
  LOAD_FAILED: -32020,
  SCRIPT_FAILED: -32021,
  UNSENDABLE_RESULT: -32022,
});

/** The peer did what specs/protocol.md does not allow. */
class ProtocolViolation extends Error {}

/** What was to be said does not fit the link's limits. */
class TooLargeError extends Error {}

/**
 * @typedef {number | bigint | string} Id
 * @typedef {{max_message: number, max_frame: number, max_depth: number, max_batch: number}} Limits
 * @typedef {{code: number, message: string, data?: any}} RpcError
 * @typedef {{kind: 'request', id: Id, method: string, params: Record<string, any>}
 *   | {kind: 'notification', method: string, params: Record<string, any>}
 *   | {kind: 'outcome', id: Id, method: string, result?: any, error?: RpcError}} SessionEvent
 * @typedef {Record<string, any> | any[] | ((encoder: Encoder) => void)} Body a plain value, or what writes one
 */

class Session {
  #encoder = new Encoder();
  #lastId = 0;
  /** @type {Map<Id, string>} our requests without an outcome, and their methods */
  #asked = new Map();
  /** @type {Set<Id>} the peer's requests without an answer */
  #answering = new Set();

  /** @param {Limits} [limits] */
  constructor(limits = DEFAULT_LIMITS) {
    /** @type {Limits} */
    this.limits = limits;
  }

  // -- what this side says; the bytes are valid until the next call ---------------------------------------------

  /** @param {string} method @param {Body} params @returns {{id: number, bytes: Uint8Array}} */
  request(method, params) {
    const id = this.#lastId + 1;
    const bytes = this.#message(4, id, () => this.#called(method, params));
    this.#lastId = id;
    this.#asked.set(id, method);
    return { id, bytes };
  }

  /** @param {string} method @param {Body} params @returns {Uint8Array} */
  notify(method, params) {
    return this.#message(3, undefined, () => this.#called(method, params));
  }

  /**
   * @param {Id} id
   * @param {Body} result
   * @returns {Uint8Array}
   * @throws whatever writing the result throws; the request is then still without an answer
   */
  respond(id, result) {
    const bytes = this.#message(3, id, () => this.#member('result', result));
    this.#answered(id);
    return bytes;
  }

  /** @param {Id} id @param {number} code @param {string} message @param {any} [data] @returns {Uint8Array} */
  fail(id, code, message, data) {
    const error = data === undefined ? { code, message } : { code, message, data };
    const bytes = this.#message(3, id, () => this.#member('error', error));
    this.#answered(id);
    return bytes;
  }

  /** @param {number} members @param {Id | undefined} id @param {() => void} writeRest @returns {Uint8Array} */
  #message(members, id, writeRest) {
    const encoder = this.#encoder;
    if (encoder.buffer.length > KEEP_BUFFER) this.#encoder.shrink();
    encoder.reset();
    encoder.mapHeader(members);
    encoder.raw(JSONRPC);
    if (id !== undefined) {
      encoder.string('id');
      if (typeof id === 'string') encoder.string(id);
      else encoder.integer(id);
    }
    writeRest();
    const most = this.limits.max_frame - FRAME_BYTES;
    if (encoder.pos > most) throw new TooLargeError(`${encoder.pos} bytes in all; ${most} is the most that fits a frame`);
    return encoder.written();
  }

  /** @param {string} method @param {Body} params */
  #called(method, params) {
    this.#encoder.string('method');
    this.#encoder.string(method);
    this.#member('params', params);
  }

  /** @param {string} name @param {Body} body */
  #member(name, body) {
    this.#encoder.string(name);
    if (typeof body === 'function') body(this.#encoder);
    else this.#encoder.value(body, this.limits.max_depth - 1);
  }

  /** @param {Id} id */
  #answered(id) {
    if (!this.#answering.delete(id)) throw new Error(`a second answer to the request ${String(id)}`);
  }

  // -- what the peer says ---------------------------------------------------------------------------------------

  /**
   * @param {Uint8Array} frame
   * @returns {SessionEvent[]}
   * @throws {ProtocolViolation}
   */
  receive(frame) {
    const { max_frame: maxFrame, max_depth: maxDepth, max_batch: maxBatch } = this.limits;
    if (frame.length > maxFrame) {
      throw new ProtocolViolation(`a frame of ${frame.length} bytes is over the limit of ${maxFrame}`);
    }
    let content;
    try {
      content = decodeFrame(frame, maxDepth);
    } catch (error) {
      if (error instanceof MalformedError) throw new ProtocolViolation(error.message);
      throw error;
    }
    // What its two numbers mean is decided where frames are numbered (`replay.js`).
    const count = Array.isArray(content) ? content.length - 2 : 0;
    if (count < 1 || count > maxBatch) {
      throw new ProtocolViolation(`a frame of ${count} messages; 1 to ${maxBatch} are allowed`);
    }
    const events = [];
    for (let i = 2; i < content.length; i += 1) {
      const event = this.#event(content[i]);
      if (event !== null) events.push(event);
    }
    return events;
  }

  /** @param {any} message @returns {SessionEvent | null} null for what was answered elsewhere */
  #event(message) {
    if (!isMap(message) || message.jsonrpc !== '2.0') throw new ProtocolViolation('what arrived is no JSON-RPC 2.0 message');
    const isCall = Object.hasOwn(message, 'method');
    const isAnswer = Object.hasOwn(message, 'result') || Object.hasOwn(message, 'error');
    if (isCall && isAnswer) throw new ProtocolViolation('a message is both request and response');
    if (isCall) return this.#call(message);
    if (isAnswer) return this.#outcome(message);
    throw new ProtocolViolation('a message is neither request nor response');
  }

  /** @param {Record<string, any>} message @returns {SessionEvent | null} */
  #call(message) {
    const { method } = message;
    if (typeof method !== 'string' || method.length < 1 || method.length > MAX_METHOD_LENGTH) {
      throw new ProtocolViolation('the name of a method has 1 to 64 characters');
    }
    const params = Object.hasOwn(message, 'params') ? message.params : {};
    if (!isMap(params)) throw new ProtocolViolation(`${method}: params must be a map`);
    if (!Object.hasOwn(message, 'id')) return { kind: 'notification', method, params };
    const { id } = message;
    if (!isId(id)) throw new ProtocolViolation(`${method}: an id is a 64-bit integer or a string of 1 to 64 bytes`);
    if (method === 'ping') return null;
    if (this.#answering.has(id)) throw new ProtocolViolation(`a second request ${String(id)} before the first was answered`);
    if (this.#answering.size >= MAX_PENDING) throw new ProtocolViolation(`more than ${MAX_PENDING} requests without an answer`);
    this.#answering.add(id);
    return { kind: 'request', id, method, params };
  }

  /** @param {Record<string, any>} message @returns {SessionEvent} */
  #outcome(message) {
    const { id } = message;
    const method = this.#asked.get(id);
    if (method === undefined) throw new ProtocolViolation('a response to what was not asked, or is answered already');
    this.#asked.delete(id);
    if (!Object.hasOwn(message, 'error')) return { kind: 'outcome', id, method, result: message.result };
    const { error } = message;
    if (Object.hasOwn(message, 'result')) throw new ProtocolViolation('a response has both a result and an error');
    if (!isMap(error) || !Number.isInteger(error.code) || typeof error.message !== 'string') {
      throw new ProtocolViolation('an error has a code and a message');
    }
    return { kind: 'outcome', id, method, error: { code: error.code, message: error.message, data: error.data } };
  }
}

/** The member that begins every message. */
const JSONRPC = Buffer.from('\u00a7jsonrpc\u00a32.0', 'latin1');

/** Where messages stand in a frame: in the params of its requests. @type {import('./forms').Place} */
const FRAME = { everyItem: { members: new Map([['params', { members: new Map([['inputs', { everyMember: MESSAGE }]]) }]]) } };

/**
 * @param {Uint8Array} frame
 * @param {number} maxDepth the frame itself does not count
 * @returns {any} an array, should it be one: two numbers, and messages of JSON-RPC
 * @throws {MalformedError}
 */
function decodeFrame(frame, maxDepth) {
  return decodeAt(frame, maxDepth + 1, FRAME);
}

/** @param {any} value @returns {value is Record<string, any>} */
function isMap(value) {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Uint8Array);
}

/** @param {any} id @returns {id is Id} */
function isId(id) {
  if (typeof id === 'string') return id.length >= 1 && Buffer.byteLength(id) <= MAX_ID_BYTES;
  return typeof id === 'bigint' || Number.isSafeInteger(id);
}

module.exports = {
  Code, DEFAULT_LIMITS, FRAME_BYTES, ProtocolViolation, Session, TooLargeError, decodeFrame, isId, isMap,
};
