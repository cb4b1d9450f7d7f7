'use strict';
/**
 * One WebSocket connection of the link: from its opening to its end.
 *
 * It decides what an opening is (specs/protocol.md §1, §4) and what the end of a connection means. When to open another,
 * and what is said over it, is the matter of `link_worker.js`.
 */

const net = require('node:net');
const WebSocket = require('ws');
const opening = require('./opening');
const { ProtocolViolation } = require('./session');

/** By then everything has left this process; a peer that does not close its end is not waited for longer. */
const CLOSE_MS = 250;
const MAX_PAYLOAD = 2 ** 30;
const MAX_REASON_BYTES = 123;
const NO_MASK = Buffer.alloc(4);

const Close = Object.freeze({ DONE: 1000, VIOLATION: 4001, NO_COMMON_VERSION: 4002, REPLACED: 4003, CUT: 4004 });

/** Those that end the session with the connection. */
const FINAL = new Set([Close.DONE, Close.VIOLATION, Close.NO_COMMON_VERSION, Close.REPLACED]);

/**
 * How a connection ended. `isOver`: no other may follow; `isRefused`: the opening was refused.
 * @typedef {{reason: string, code: number, isOver: boolean, isRefused: boolean}} End
 */

class Connection {
  /** Whether the opening is done. */
  isOpen = false;
  #socket;
  #handlers;
  #received;
  #failure = '';
  #isRefused = false;
  #isDropped = false;
  /** @type {NodeJS.Timeout} */
  #timer;

  /**
   * @param {object} options
   * @param {string} options.path of the Unix socket
   * @param {string} options.secret what this agent has to show
   * @param {Record<string, any>} options.about what it says about itself
   * @param {number | null} options.received how many frames have come over earlier connections; null for the first one
   * @param {number} options.timeoutMs for the opening
   * @param {object} handlers none is called after `onEnd`, or after `drop`
   * @param {(welcome: import('./opening').Welcome) => void} handlers.onOpen
   * @param {(frame: Uint8Array | string) => void} handlers.onFrame
   * @param {(end: End) => void} handlers.onEnd
   * @param {(how: string) => void} handlers.onViolation
   */
  constructor({ path, secret, about, received, timeoutMs }, handlers) {
    this.#handlers = handlers;
    this.#received = received;
    this.#timer = setTimeout(() => {
      this.#failure = 'the supervisor does not answer';
      this.#socket.terminate();
    }, timeoutMs);
    this.#socket = new WebSocket('ws://localhost/agent', ['reflow.v1'], /** @type {any} */ ({
      createConnection: () => net.createConnection(path),
      headers: { Authorization: `Bearer ${secret}` },
      perMessageDeflate: false,
      closeTimeout: CLOSE_MS,
      // The session refuses what is over the negotiated limit, which is not known yet.
      maxPayload: MAX_PAYLOAD,
      // Masks protect proxies from what a browser sends. There is none on a Unix socket, and a mask of zeros costs nothing.
      generateMask: (/** @type {Buffer} */ mask) => NO_MASK.copy(mask),
    }));
    this.#socket.on('open', () => this.#socket.send(opening.hello(about, received)));
    this.#socket.on('unexpected-response', (request, response) => {
      this.#isRefused = true;
      this.#failure = `the supervisor refused: HTTP ${response.statusCode}`;
      request.destroy();
      this.#socket.terminate();
    });
    this.#socket.on('error', (error) => {
      this.#failure ||= error.message;
    });
    this.#socket.on('message', (data, isBinary) => {
      if (!this.#isDropped) this.#take(/** @type {Buffer} */ (data), isBinary);
    });
    this.#socket.on('close', (code, reason) => this.#ended(code, reason.toString()));
  }

  /** @param {Buffer} data @param {boolean} isBinary */
  #take(data, isBinary) {
    const frame = isBinary ? new Uint8Array(data) : data.toString();
    if (this.isOpen) this.#handlers.onFrame(frame);
    else this.#welcome(frame);
  }

  /** @param {Uint8Array | string} frame */
  #welcome(frame) {
    let answer;
    try {
      answer = opening.readAnswer(typeof frame === 'string' ? fromText(frame) : frame, this.#received !== null);
    } catch (error) {
      if (!(error instanceof ProtocolViolation)) throw error;
      this.#handlers.onViolation(error.message);
      return;
    }
    if ('refused' in answer) {
      this.#isRefused = true;
      this.#failure = `the supervisor refused this agent: ${answer.refused}`;
      this.close(Close.NO_COMMON_VERSION, '');
      return;
    }
    clearTimeout(this.#timer);
    this.isOpen = true;
    this.#handlers.onOpen(answer.welcome);
  }

  /** @param {number} code @param {string} reason */
  #ended(code, reason) {
    clearTimeout(this.#timer);
    if (this.#isDropped) return;
    this.#isDropped = true;
    this.#handlers.onEnd({
      reason: this.#failure || reason || `the supervisor closed with ${code}`,
      code,
      isOver: this.#isRefused || FINAL.has(code),
      isRefused: this.#isRefused || code === Close.NO_COMMON_VERSION,
    });
  }

  /** How many bytes have not been taken by the socket. */
  get bufferedAmount() {
    return this.#socket.bufferedAmount;
  }

  /** @param {Uint8Array | string} frame @param {() => void} onSent called when it has left this process */
  send(frame, onSent) {
    this.#socket.send(frame, (error) => {
      if (!error && !this.#isDropped) onSent();
    });
  }

  /** Closes behind all that was sent. @param {number} code @param {string} reason */
  close(code, reason) {
    const text = Buffer.from(reason).subarray(0, MAX_REASON_BYTES).toString().replace(/\ufffd$/, '');
    this.#socket.close(code, text);
  }

  /** It is of no more use, and nothing of it is of interest. @param {number} code */
  drop(code) {
    this.#isDropped = true;
    clearTimeout(this.#timer);
    this.close(code, '');
  }
}

/** @param {string} text @returns {Uint8Array} */
function fromText(text) {
  try {
    return require('./text').decode(text);
  } catch (error) {
    throw new ProtocolViolation(/** @type {Error} */ (error).message);
  }
}

module.exports = { Close, Connection, fromText };
