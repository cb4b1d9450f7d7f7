'use strict';
/**
 * The script thread's end of the link: starts the thread that holds the socket, and exchanges encoded messages with it.
 * When that thread replaces a connection, nothing of it is seen here.
 *
 * It decides nothing about their contents. What arrives comes as events of the event loop, or, while a script waits for
 * an answer without yielding, through `receiveNow`.
 */

const path = require('node:path');
const { MessageChannel, Worker, receiveMessageOnPort } = require('node:worker_threads');
const { RingWriter, Word, allocate } = require('./ring');

/**
 * What the link's thread reports. `welcome`: the link is open. `isRefused`: it never was, as the supervisor has it.
 * @typedef {{violation: string} | {closed: string, code: number, isRefused: boolean}
 *   | {welcome: {limits: import('./session').Limits, windowMs: number}}} LinkReport
 */

class Link {
  #memory = allocate();
  #port;
  #writer;
  #onFrame;
  #onReport;
  #windowMs = 0;

  /**
   * @param {object} options
   * @param {string} options.path of the Unix socket
   * @param {string} options.token
   * @param {Record<string, any>} options.about what the supervisor is told about this agent
   * @param {(frame: Uint8Array) => void} options.onFrame
   * @param {(report: LinkReport) => void} options.onReport
   */
  constructor({ path: socketPath, token, about, onFrame, onReport }) {
    const control = new MessageChannel();
    const large = new MessageChannel();
    this.#port = control.port1;
    this.#onFrame = onFrame;
    this.#onReport = onReport;
    this.#writer = new RingWriter(this.#memory, large.port1, () => this.#port.postMessage(null));
    large.port1.unref();
    const worker = new Worker(path.join(__dirname, 'link_worker.js'), {
      workerData: { memory: this.#memory, control: control.port2, large: large.port2, path: socketPath, token, about },
      transferList: [control.port2, large.port2],
      env: {},
      // It mostly moves buffers, which are no part of its heap.
      resourceLimits: { maxYoungGenerationSizeMb: 2 },
    });
    worker.on('error', (error) =>
      this.#onReport({ closed: `the link's thread failed: ${error.stack}`, code: 0, isRefused: false }),
    );
    worker.unref();
    this.#port.on('message', (message) => this.#dispatch(message));
  }

  /** @param {Uint8Array | LinkReport} message */
  #dispatch(message) {
    if (message instanceof Uint8Array) {
      this.#onFrame(message);
      return;
    }
    if ('welcome' in message) this.#windowMs = message.welcome.windowMs;
    this.#onReport(message);
  }

  /** @param {Uint8Array} message one, encoded; copied */
  write(message) {
    this.#writer.write(message);
  }

  /** Nothing more is ready to be written. */
  flush() {
    this.#writer.flush();
  }

  /**
   * Handles the next thing that arrives, without yielding to the event loop.
   * @param {number} timeout milliseconds
   * @returns {boolean} false when it was over
   */
  receiveNow(timeout) {
    const end = performance.now() + timeout;
    this.flush();
    for (;;) {
      const seen = Atomics.load(this.#memory.header, Word.FRAMES);
      const received = receiveMessageOnPort(this.#port);
      if (received !== undefined) {
        this.#dispatch(received.message);
        return true;
      }
      const left = end - performance.now();
      if (left <= 0) return false;
      Atomics.wait(this.#memory.header, Word.FRAMES, seen, left);
    }
  }

  /** For the answers to pings. @param {number | bigint} activation 0 for none */
  setBusy(activation) {
    this.#memory.status[1] = activation === 0 ? 0 : Date.now();
    this.#memory.status[0] = Number(activation);
  }

  /** How many activations are held: while there are some, answers may wait a moment for one another. @param {number} count */
  setWaiting(count) {
    Atomics.store(this.#memory.header, Word.WAITING, count);
  }

  /**
   * Waits, without yielding, until everything written is on its way.
   * @param {number} timeout milliseconds
   */
  drain(timeout) {
    const { header } = this.#memory;
    const end = performance.now() + timeout;
    const position = this.#writer.position;
    this.flush();
    for (;;) {
      const sent = Atomics.load(header, Word.SENT);
      const left = end - performance.now();
      if (sent === position || left <= 0 || Atomics.load(header, Word.CLOSED) !== 0) return;
      Atomics.wait(header, Word.SENT, sent, left);
    }
  }

  /**
   * Sends what was written, closes, and waits, without yielding, until that is done; where the link is cut, until it is
   * up again or over.
   * @param {number} code
   * @param {string} reason
   * @param {number} timeout milliseconds
   */
  close(code, reason, timeout) {
    this.#port.postMessage({ close: { code, reason } });
    Atomics.wait(this.#memory.header, Word.CLOSED, 0, timeout + this.#windowMs);
  }
}

module.exports = { Link };
