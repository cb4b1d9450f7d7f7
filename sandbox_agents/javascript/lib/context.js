'use strict';
/**
 * `ActorContext`: what an actor is given for one activation.
 *
 * It decides nothing: inputs, state and the ways out are put in by `runner.js`, or by a test. `payload` is a Map, as
 * in Reflow's API; it has no properties named after ports, which a port called `get` or `size` would break.
 */

const { ActorState } = require('./state');

const LEVELS = ['debug', 'info', 'warning', 'error'];

/**
 * @typedef {object} Surroundings what all activations of an actor share
 * @property {import('./state').StateTable} table
 * @property {Record<string, any>} config
 * @property {string} actorId the node's id in the network
 * @property {(level: string, message: string, fields?: Record<string, any>) => void} writeLog
 * @property {() => number} wallClock milliseconds since 1970
 */

class ActorContext {
  #payload;
  #surroundings;
  #emit;
  /** @type {ActorState | null} made when first asked for: many actors have no state */
  #state = null;
  #closed = false;

  /**
   * @param {Map<string, import('./message').Message>} payload
   * @param {Surroundings} surroundings
   * @param {(port: string, message: any) => void} emit
   */
  constructor(payload, surroundings, emit) {
    this.#payload = payload;
    this.#surroundings = surroundings;
    this.#emit = emit;
  }

  /** The messages of this activation by inport. */
  get payload() {
    return this.#payload;
  }

  getPayload() {
    return this.#payload;
  }

  /** The node's configuration. */
  get config() {
    return this.#surroundings.config;
  }

  getConfig() {
    return this.#surroundings.config;
  }

  /** @returns {ActorState} */
  get state() {
    if (this.#state === null) {
      this.#state = new ActorState(this.#surroundings.table);
      if (this.#closed) this.#state.close();
    }
    return this.#state;
  }

  /**
   * The actor's state; with a key, as older scripts call it, the value of that key.
   * @param {string} [key]
   * @param {any} [fallback]
   */
  getState(key, fallback) {
    return key === undefined ? this.state : this.state.get(key, fallback);
  }

  /** Older form of `context.state.set`. @param {string} key @param {any} value */
  setState(key, value) {
    this.state.set(key, value);
  }

  /** @param {string} port */
  hasInput(port) {
    return this.#payload.has(port);
  }

  /** @param {string} port @param {any} [fallback] given back where this activation has no message on that port */
  getInput(port, fallback) {
    return this.#payload.has(port) ? this.#payload.get(port) : fallback;
  }

  /** Emits a message (or a plain value) now, before the actor returns. @param {string} port @param {any} message */
  send(port, message) {
    if (this.#closed) throw new Error('this activation is over: it can no longer send (was something not awaited?)');
    this.#emit(port, message);
  }

  /** @param {string} port @param {any} message */
  sendOutput(port, message) {
    this.send(port, message);
  }

  /**
   * Writes to the supervisor's log: `log('warning', 'text', {fields})`, `log.warning('text', {fields})`, or just
   * `log('text')` for the level info.
   */
  get log() {
    const { writeLog } = this.#surroundings;
    /** @type {any} */
    const log = (...args) => {
      if (args.length > 1 && LEVELS.includes(args[0])) writeLog(args[0], args[1], args[2]);
      else writeLog('info', args[0], args[1]);
    };
    for (const level of LEVELS) log[level] = (message, fields) => writeLog(level, message, fields);
    log.warn = log.warning;
    return log;
  }

  /** Milliseconds since 1970: `timestamp()`, and `timestamp` as older scripts read it. */
  get timestamp() {
    return readable(this.#surroundings.wallClock());
  }

  /** The id of this node in the network: `actorId()`, and `actorId` as older scripts read it. */
  get actorId() {
    return readable(this.#surroundings.actorId);
  }

  /** The activation is over: what still runs of it can no longer send, nor change state. */
  close() {
    this.#closed = true;
    this.#state?.close();
  }
}

/** A function that gives a value, and stands for it in arithmetic, comparisons, text and messages. @param {string | number} value */
function readable(value) {
  return Object.assign(() => value, {
    valueOf: () => value,
    toString: () => String(value),
    toPlain: () => value,
    toJSON: () => value,
    [Symbol.toPrimitive]: () => value,
  });
}

module.exports = { ActorContext };
