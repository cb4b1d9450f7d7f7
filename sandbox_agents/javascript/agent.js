#!/usr/bin/env node
'use strict';
/**
 * The JavaScript agent: the program that runs one actor script inside a sandbox, as specs/protocol.md says.
 *
 * This module wires the parts together and decides what each request of the supervisor does. The script runs on this
 * thread; the link has its own.
 */

const { Link } = require('./lib/link');
const { complaintAboutLoad, complaintAboutStop, isFetched, isNames } = require('./lib/params');
const { Code, ProtocolViolation, Session, isId, isMap } = require('./lib/session');

const EXIT = Object.freeze({ DONE: 0, CRASHED: 1, USAGE: 2, LINK_LOST: 70, VIOLATION: 71, REFUSED: 72 });
const CLOSE = Object.freeze({ DONE: 1000, VIOLATION: 4001 });
const CLOSE_TIMEOUT_MS = 2000;
const DRAIN_TIMEOUT_MS = 500;
const FETCH_TIMEOUT_MS = 60_000;
const DEFAULT_GRACE_MS = 5000;
const STACK_FRAMES = 30;

class Agent {
  #session = new Session();
  #link;
  #runner;
  #workspace;
  #hasLoaded = false;
  #isStopping = false;
  #isEnding = false;
  /** @type {Map<import('./lib/session').Id, any>} outcomes that a script waits for; null while there is none */
  #awaited = new Map();
  /** @type {import('./lib/session').SessionEvent[]} requests and notifications that wait to be handled */
  #arrived = [];
  #isHandling = false;

  /** @param {{link: string, token: string, workspace: string}} environment */
  constructor({ link, token, workspace }) {
    this.#workspace = workspace;
    this.#link = new Link({
      path: link,
      token,
      about: {
        runtime: 'javascript',
        agent: require('./package.json').version,
        language: process.versions.node,
        pid: process.pid,
      },
      onFrame: (frame) => this.#receive(frame),
      onReport: (report) => this.#onReport(report),
    });
    // Needed later than the above, and read while the link's thread starts and says hello.
    const { Runner } = require('./lib/runner');
    this.#runner = new Runner({
      session: this.#session,
      replies: {
        respond: (requestId, result) => this.#link.write(this.#session.respond(requestId, result)),
        fail: (requestId, code, message, data) => this.#link.write(this.#session.fail(requestId, code, message, data)),
        notify: (method, params) => this.#link.write(this.#session.notify(method, params)),
        flush: () => this.#link.flush(),
      },
      watch: this.#link,
      scheduler: {
        now: () => performance.now(),
        defer: setImmediate,
        setTimer: setTimeout,
        clearTimer: clearTimeout,
      },
    });
    require('./lib/loader');
  }

  // -- what arrives ---------------------------------------------------------------------------------------------

  /** @param {Uint8Array} frame */
  #receive(frame) {
    if (this.#isEnding) return;
    try {
      for (const event of this.#session.receive(frame)) {
        // A script that waits for its state receives in the middle of what is being handled: the answer it waits for
        // goes to it, everything else takes its place behind what came before.
        if (event.kind === 'request' || event.kind === 'notification') this.#arrived.push(event);
        else this.#handle(event);
      }
      if (!this.#isHandling) this.#handleArrived();
    } catch (error) {
      if (!(error instanceof ProtocolViolation)) throw error;
      this.#violated(error.message);
    }
    this.#link.flush();
  }

  #handleArrived() {
    this.#isHandling = true;
    try {
      for (let event = this.#arrived.shift(); event !== undefined; event = this.#arrived.shift()) this.#handle(event);
    } finally {
      this.#isHandling = false;
    }
  }

  /** @param {import('./lib/session').SessionEvent} event */
  #handle(event) {
    switch (event.kind) {
      case 'request':
        this.#answer(event.id, event.method, event.params);
        break;
      case 'notification':
        if (event.method === 'cancel' && isId(event.params.id)) this.#runner.cancel(event.params.id);
        break;
      default:
        if (this.#awaited.has(event.id)) this.#awaited.set(event.id, event);
    }
  }

  /** @param {import('./lib/session').Id} id @param {string} method @param {Record<string, any>} params */
  #answer(id, method, params) {
    switch (method) {
      case 'activate':
        this.#runner.activate(id, params);
        break;
      case 'load':
        this.#load(id, params);
        break;
      case 'stop':
        this.#stop(id, params);
        break;
      default:
        this.#link.write(this.#session.fail(id, Code.METHOD_NOT_FOUND, `no method ${JSON.stringify(method)}`));
    }
  }

  // -- requests -------------------------------------------------------------------------------------------------

  /** @param {import('./lib/session').Id} id @param {Record<string, any>} params */
  #load(id, params) {
    if (this.#hasLoaded) {
      this.#link.write(this.#session.fail(id, Code.INVALID_REQUEST, 'this agent has been given a script already'));
      return;
    }
    const complaint = complaintAboutLoad(params);
    if (complaint !== null) {
      this.#link.write(this.#session.fail(id, Code.INVALID_PARAMS, complaint));
      return;
    }
    this.#hasLoaded = true;
    holdUpWriters();
    const { load } = require('./lib/loader');
    const { StateTable } = require('./lib/state');
    const config = params.config ?? {};
    let actor;
    try {
      actor = load({
        source: params.source,
        file: params.file,
        workspace: this.#workspace,
        name: params.export ?? '',
        component: params.component,
        config,
        timeout: params.deadline_ms ?? null,
      });
    } catch (error) {
      this.#refuseLoad(id, error);
      return;
    }
    this.#runner.use({
      call: actor.call,
      outports: params.outports ?? null,
      workspace: this.#workspace,
      surroundings: {
        table: new StateTable({
          fetch: (keys) => this.#ask('state.fetch', { keys }, isFetched),
          fetchKeys: (pattern) => this.#ask('state.keys', { pattern }, isNames),
          ttl: params.state?.ttl_ms ?? null,
        }),
        config,
        actorId: params.node,
        writeLog: (level, message, fields) => this.#log(level, message, fields),
        wallClock: Date.now,
      },
    });
    this.#link.write(this.#session.respond(id, actor.declared));
  }

  /** @param {import('./lib/session').Id} id @param {any} error */
  #refuseLoad(id, error) {
    const isOverdue = error?.code === 'ERR_SCRIPT_EXECUTION_TIMEOUT';
    const failure = require('./lib/failure').describe(error, this.#workspace);
    const code = isOverdue ? Code.DEADLINE_EXCEEDED : Code.LOAD_FAILED;
    const message = isOverdue ? 'the script took too long to load' : `${failure.type}: ${failure.message}`;
    this.#link.write(this.#session.fail(id, code, message, failure));
  }

  /** @param {import('./lib/session').Id} id @param {Record<string, any>} params */
  #stop(id, params) {
    if (this.#isStopping) {
      this.#link.write(this.#session.fail(id, Code.INVALID_REQUEST, 'a stop is under way'));
      return;
    }
    const complaint = complaintAboutStop(params);
    if (complaint !== null) {
      this.#link.write(this.#session.fail(id, Code.INVALID_PARAMS, complaint));
      return;
    }
    this.#isStopping = true;
    this.#runner.stop(params.grace_ms ?? DEFAULT_GRACE_MS, () => {
      this.#link.write(this.#session.respond(id, {}));
      this.#link.drain(DRAIN_TIMEOUT_MS);
      this.#end(EXIT.DONE, CLOSE.DONE, '');
    });
  }

  // -- what scripts ask -----------------------------------------------------------------------------------------

  /**
   * Asks the supervisor and waits for the answer without yielding: a script's state is synchronous.
   * @param {string} method
   * @param {Record<string, any>} params
   * @param {(result: any) => boolean} isRight whether a result has the method's shape
   * @returns {any}
   */
  #ask(method, params, isRight) {
    const { id, bytes } = this.#session.request(method, params);
    this.#link.write(bytes);
    this.#awaited.set(id, null);
    const end = performance.now() + Math.min(this.#runner.timeLeft, FETCH_TIMEOUT_MS);
    try {
      while (this.#awaited.get(id) === null) {
        if (!this.#link.receiveNow(end - performance.now())) throw new Error('the state did not answer in time');
      }
      const { result, error } = this.#awaited.get(id);
      if (error) throw new Error(`the state is not available: ${error.message}`);
      if (!isRight(result)) this.#violated(`the result of ${method} has another shape`);
      return result;
    } finally {
      this.#awaited.delete(id);
    }
  }

  /** @param {string} level @param {any} message @param {any} [fields] */
  #log(level, message, fields) {
    const { clip } = require('./lib/failure');
    const longest = this.#session.limits.max_message / 4;
    const params = { level, message: clip(typeof message === 'string' ? message : String(message), longest) };
    const about = isMap(fields) || fields === undefined ? fields : { value: fields };
    let bytes;
    try {
      bytes = this.#session.notify('log', about === undefined ? params : { ...params, fields: about });
      if (bytes.length > 2 * longest) throw new RangeError(`the record has ${bytes.length} bytes; ${2 * longest} is the most`);
    } catch (error) {
      // A record of something that went wrong must not be what goes wrong.
      bytes = this.#session.notify('log', { ...params, fields: { unsendable: error.message } });
    }
    this.#link.write(bytes);
  }

  /**
   * Something was thrown where nobody caught it.
   * @param {any} error
   */
  crashed(error) {
    if (this.#runner.crash(error)) return;
    console.error('uncaught outside of any activation:', error);
    process.exit(EXIT.CRASHED);
  }

  // -- the end --------------------------------------------------------------------------------------------------

  /** The script, or this agent, called `process.exit`: what was committed has still to leave. */
  leaving() {
    if (!this.#isEnding) this.#link.drain(DRAIN_TIMEOUT_MS);
  }

  /** @param {import('./lib/link').LinkReport} report */
  #onReport(report) {
    if (this.#isEnding) return;
    if ('welcome' in report) {
      this.#session.limits = report.welcome.limits;
      return;
    }
    if ('violation' in report) {
      this.#violated(report.violation);
      return;
    }
    this.#isEnding = true;
    console.error(`reflow agent: the link is lost: ${report.closed}`);
    process.exit(report.isRefused ? EXIT.REFUSED : EXIT.LINK_LOST);
  }

  /** @param {string} how */
  #violated(how) {
    this.#end(EXIT.VIOLATION, CLOSE.VIOLATION, `protocol violation: ${how}`);
  }

  /** @param {number} exitCode @param {number} closeCode @param {string} reason */
  #end(exitCode, closeCode, reason) {
    this.#isEnding = true;
    if (reason) console.error(`reflow agent: ${reason}`);
    this.#link.close(closeCode, reason, CLOSE_TIMEOUT_MS);
    process.exit(exitCode);
  }
}

/**
 * Writes to stdout and stderr wait for room in their pipes. Otherwise Node keeps what does not fit in the heap, and
 * `process.exit` drops it.
 */
function holdUpWriters() {
  for (const stream of [process.stdout, process.stderr]) {
    const handle = /** @type {any} */ (stream)._handle;
    if (handle && typeof handle.setBlocking === 'function') handle.setBlocking(true);
  }
}

function main() {
  const { REFLOW_LINK: link, REFLOW_TOKEN: token, REFLOW_WORKSPACE: workspace } = process.env;
  if (!link || !token || !workspace) {
    console.error('reflow agent: REFLOW_LINK, REFLOW_TOKEN and REFLOW_WORKSPACE must be set; a supervisor does that');
    process.exit(EXIT.USAGE);
  }
  // Not for the script, nor for what it starts.
  delete process.env.REFLOW_TOKEN;
  Error.stackTraceLimit = STACK_FRAMES;
  const agent = new Agent({ link, token, workspace });
  process.on('uncaughtException', (error) => agent.crashed(error));
  process.on('unhandledRejection', (error) => agent.crashed(error));
  process.on('exit', () => agent.leaving());
}

main();
