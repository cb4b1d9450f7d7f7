'use strict';
/**
 * Runs activations, one at a time and in the order they came, each to exactly one outcome.
 *
 * It decides when an activation starts, what its outcome is, and what of it counts: a commit with its outputs and state
 * operations, or a failure, of which nothing stays and after which the activations of its epoch are skipped. It does
 * no I/O: how answers leave, the state, clocks, timers and the turn of the event loop are passed in.
 *
 * An activation is *settled* when the script's function is done, and *finished* a turn of the event loop later: only then
 * is it known whether it left a rejected promise behind, which fails it.
 */

const { ActorContext } = require('./context');
const { describe } = require('./failure');
const { MalformedMessageError, Message } = require('./message');
const { encodeOutput, isUnsendable, outputsOf } = require('./outputs');
const { complaintAboutActivate } = require('./params');
const { Code } = require('./session');

/** The longest that a timer takes; for more it goes off at once. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/**
 * @typedef {import('./session').Id} Id
 * @typedef {import('./session').Body} Body
 *
 * @typedef {object} Replies where answers go
 * @property {(id: Id, result: Body) => void} respond throws what writing the result throws
 * @property {(id: Id, code: number, message: string, data?: any) => void} fail
 * @property {(method: string, params: Body) => void} notify
 * @property {() => void} flush nothing more is ready now
 *
 * @typedef {object} Watch what is told about the work, for the answers to pings
 * @property {(activation: number | bigint) => void} setBusy 0 for none
 * @property {(count: number) => void} setWaiting
 *
 * @typedef {object} Scheduler
 * @property {() => number} now monotonic milliseconds
 * @property {(callback: () => void) => void} defer runs it in a later turn, after rejections have been reported
 * @property {(callback: () => void, milliseconds: number) => any} setTimer
 * @property {(timer: any) => void} clearTimer
 *
 * @typedef {object} Actor
 * @property {(context: ActorContext) => any} call
 * @property {string[] | null} outports
 * @property {string} workspace
 * @property {import('./context').Surroundings} surroundings
 */

class Activation {
  /**
   * @param {Id} id
   * @param {Record<string, any>} params
   * @param {Map<string, Message>} inputs
   * @param {number} received
   */
  constructor(id, params, inputs, received) {
    this.id = id;
    this.activation = params.activation;
    this.attempt = params.attempt;
    this.epoch = params.epoch;
    this.inputs = inputs;
    this.timeout = params.timeout_ms ?? Infinity;
    this.deadline = received + (params.deadline_ms ?? Infinity);
    this.isCancelled = false;
    this.sent = 0;
    /** @type {ActorContext | null} */
    this.context = null;
    /** @type {{value: any} | {error: any} | null} */
    this.outcome = null;
  }
}

class Runner {
  /** @type {Activation[]} */
  #waiting = [];
  /** @type {Activation | null} */
  #current = null;
  /** @type {Actor | null} */
  #actor = null;
  #failedEpoch = 0;
  /** Turns of the event loop that were asked for and have not come. */
  #turns = 0;
  #isStopping = false;
  /** @type {any} */
  #timer = null;
  #timerDue = Infinity;
  /** @type {(() => void) | null} */
  #whenStopped = null;
  #session;
  #replies;
  #watch;
  #scheduler;

  /**
   * @param {object} options
   * @param {{limits: import('./session').Limits}} options.session
   * @param {Replies} options.replies
   * @param {Watch} options.watch
   * @param {Scheduler} options.scheduler
   */
  constructor({ session, replies, watch, scheduler }) {
    this.#session = session;
    this.#replies = replies;
    this.#watch = watch;
    this.#scheduler = scheduler;
  }

  /** @param {Actor} actor */
  use(actor) {
    this.#actor = actor;
  }

  /** @returns {number} milliseconds that the running activation has left; Infinity without a limit */
  get timeLeft() {
    return this.#current === null ? Infinity : this.#current.deadline - this.#scheduler.now();
  }

  // -- events ---------------------------------------------------------------------------------------------------

  /** @param {Id} id @param {Record<string, any>} params */
  activate(id, params) {
    if (this.#actor === null) {
      this.#replies.fail(id, Code.INVALID_REQUEST, 'no script is loaded');
      return;
    }
    const complaint = complaintAboutActivate(params);
    if (complaint !== null) {
      this.#replies.fail(id, Code.INVALID_PARAMS, complaint);
      return;
    }
    let inputs;
    try {
      inputs = new Map(Object.entries(params.inputs).map(([port, read]) => [port, Message.decode(read)]));
    } catch (error) {
      if (!(error instanceof MalformedMessageError)) throw error;
      this.#replies.fail(id, Code.INVALID_PARAMS, `inputs: ${error.message}`);
      return;
    }
    this.#waiting.push(new Activation(id, params, inputs, this.#scheduler.now()));
    this.#watch.setWaiting(this.#waiting.length);
    if (this.#current === null && this.#turns === 0) this.#startNext();
    else this.#takeTurn();
  }

  /** @param {Id} id of the request */
  cancel(id) {
    if (this.#current !== null && this.#current.id === id) {
      if (this.#current.outcome === null) this.#abandon(Code.CANCELLED, 'cancelled');
      return;
    }
    // One that waits is answered in its turn: what came before it must not be skipped for its sake.
    const waiting = this.#waiting.find((activation) => activation.id === id);
    if (waiting) waiting.isCancelled = true;
  }

  /**
   * Something was thrown, or a promise rejected, where nobody caught it.
   * @param {any} error
   * @returns {boolean} whether it is the running activation's, which then fails
   */
  crash(error) {
    if (this.#current === null) return false;
    const isSettled = this.#current.outcome !== null;
    this.#current.outcome = { error };
    if (!isSettled && this.#turns === 0) this.#takeTurn();
    return true;
  }

  /**
   * Lets the running activation finish, for so long at most, and skips those that wait.
   * @param {number} grace milliseconds
   * @param {() => void} whenStopped
   */
  stop(grace, whenStopped) {
    this.#isStopping = true;
    this.#whenStopped = whenStopped;
    if (this.#current !== null) {
      this.#scheduler.setTimer(() => {
        if (this.#current !== null) this.#abandon(Code.CANCELLED, 'stopped before it was done');
      }, Math.min(grace, MAX_TIMER_MS));
    }
    this.#takeTurn();
  }

  // -- turns ----------------------------------------------------------------------------------------------------

  /** One turn finishes an activation, or starts one, or both. Each that has to wait asks for one when it arrives. */
  #takeTurn() {
    this.#turns += 1;
    this.#scheduler.defer(() => {
      this.#turns -= 1;
      if (this.#current !== null && this.#current.outcome !== null) this.#finish(this.#current);
      if (this.#current === null) this.#startNext();
    });
  }

  #startNext() {
    for (;;) {
      const next = this.#waiting.shift();
      this.#watch.setWaiting(this.#waiting.length);
      if (next === undefined) break;
      if (this.#isStopping || next.epoch <= this.#failedEpoch) {
        const why = this.#isStopping ? 'the actor is stopping' : 'an earlier activation of its epoch failed';
        this.#replies.fail(next.id, Code.SKIPPED, `skipped: ${why}`);
      } else if (next.isCancelled) {
        this.#fail(next, Code.CANCELLED, 'cancelled');
      } else if (next.deadline <= this.#scheduler.now()) {
        this.#fail(next, Code.DEADLINE_EXCEEDED, 'its deadline was over before it could start');
      } else {
        this.#start(next);
        return;
      }
    }
    this.#replies.flush();
    const whenStopped = this.#whenStopped;
    this.#whenStopped = null;
    whenStopped?.();
  }

  /** @param {Activation} activation */
  #start(activation) {
    const { call, surroundings } = /** @type {Actor} */ (this.#actor);
    this.#current = activation;
    this.#watch.setBusy(activation.activation);
    activation.deadline = Math.min(activation.deadline, this.#scheduler.now() + activation.timeout);
    this.#setTimer(activation.deadline);
    activation.context = new ActorContext(activation.inputs, surroundings, (port, value) => this.#send(activation, port, value));
    try {
      const result = call(activation.context);
      if (typeof result?.then === 'function') {
        Promise.resolve(result).then(
          (value) => this.#settle(activation, { value }),
          (error) => this.#settle(activation, { error }),
        );
      } else {
        this.#settle(activation, { value: result });
      }
    } catch (error) {
      this.#settle(activation, { error });
    }
  }

  /** @param {Activation} activation @param {{value: any} | {error: any}} outcome */
  #settle(activation, outcome) {
    // Of an activation that was abandoned, or has crashed, nothing counts any more.
    if (activation !== this.#current || activation.outcome !== null) return;
    activation.outcome = outcome;
    if (this.#turns === 0) this.#takeTurn();
  }

  /** @param {Activation} activation */
  #finish(activation) {
    const { outcome } = activation;
    this.#release(activation);
    if (this.#scheduler.now() > activation.deadline) this.#failOverdue(activation);
    else if ('error' in outcome) this.#failWith(activation, outcome.error);
    else this.#commit(activation, outcome.value);
  }

  /** @param {Activation} activation @param {any} result */
  #commit(activation, result) {
    const { outports, surroundings } = /** @type {Actor} */ (this.#actor);
    const { table } = surroundings;
    const { limits } = this.#session;
    try {
      const outputs = outputsOf(result, outports);
      const operations = table.operations();
      this.#replies.respond(activation.id, (encoder) => {
        encoder.mapHeader(3);
        encoder.string('outputs');
        encoder.arrayHeader(outputs.length);
        for (const [port, value] of outputs) {
          encoder.arrayHeader(2);
          encoder.string(String(port));
          encodeOutput(encoder, port, value, limits);
        }
        encoder.string('state');
        encoder.value(operations, limits.max_depth);
        encoder.string('sent');
        encoder.integer(activation.sent);
      });
    } catch (error) {
      this.#failWith(activation, error);
      return;
    }
    table.commit();
  }

  /** @param {Activation} activation @param {string} port @param {any} value */
  #send(activation, port, value) {
    if (value === null || value === undefined) return;
    this.#replies.notify('send', (encoder) => {
      encoder.mapHeader(5);
      encoder.string('activation');
      encoder.integer(activation.activation);
      encoder.string('attempt');
      encoder.integer(activation.attempt);
      encoder.string('index');
      encoder.integer(activation.sent);
      encoder.string('port');
      encoder.string(String(port));
      encoder.string('message');
      encodeOutput(encoder, port, value, this.#session.limits);
    });
    activation.sent += 1;
  }

  // -- failures -------------------------------------------------------------------------------------------------

  /** @param {Activation} activation @param {any} error */
  #failWith(activation, error) {
    const code = isUnsendable(error) ? Code.UNSENDABLE_RESULT : Code.SCRIPT_FAILED;
    const failure = describe(error, /** @type {Actor} */ (this.#actor).workspace);
    this.#fail(activation, code, `${failure.type}: ${failure.message}`, failure);
  }

  /** @param {Activation} activation */
  #failOverdue(activation) {
    this.#fail(activation, Code.DEADLINE_EXCEEDED, 'the activation took longer than it may');
  }

  /** @param {Activation} activation @param {number} code @param {string} message @param {any} [data] */
  #fail(activation, code, message, data) {
    this.#failedEpoch = Math.max(this.#failedEpoch, Number(activation.epoch));
    /** @type {Actor} */ (this.#actor).surroundings.table.rollback();
    this.#replies.fail(activation.id, code, message, data);
  }

  /** Answers for the running activation and goes on without it; the script may still run. @param {number} code @param {string} message */
  #abandon(code, message) {
    const activation = /** @type {Activation} */ (this.#current);
    this.#release(activation);
    this.#fail(activation, code, message);
    this.#takeTurn();
  }

  /** @param {Activation} activation is no longer the one that runs */
  #release(activation) {
    activation.context?.close();
    this.#current = null;
    this.#watch.setBusy(0);
  }

  // -- time -----------------------------------------------------------------------------------------------------

  /** One timer serves all activations: setting and clearing one for each would cost more than most of them. @param {number} due */
  #setTimer(due) {
    if (due >= this.#timerDue) return;
    if (this.#timer !== null) this.#scheduler.clearTimer(this.#timer);
    this.#timerDue = due;
    this.#timer = this.#scheduler.setTimer(() => this.#onTimer(), Math.min(Math.max(due - this.#scheduler.now(), 0), MAX_TIMER_MS));
  }

  #onTimer() {
    this.#timer = null;
    this.#timerDue = Infinity;
    const activation = this.#current;
    if (activation === null || activation.deadline === Infinity) return;
    if (this.#scheduler.now() < activation.deadline) {
      this.#setTimer(activation.deadline);
    } else if (activation.outcome === null) {
      this.#abandon(Code.DEADLINE_EXCEEDED, 'the activation took longer than it may');
    }
  }
}

module.exports = { Runner };
