'use strict';
/**
 * The link's own thread: holds the session's frames and one connection after another, so that pings are answered, frames
 * are read and a connection that was cut is replaced while a script is busy.
 *
 * It decides how messages are put into frames (specs/protocol.md §2), when these leave, and when to connect. What they
 * say it does not look at, with two exceptions: it answers `ping`, and it translates between text frames and the
 * MessagePack that the rest of the agent speaks.
 */

const { workerData } = require('node:worker_threads');
const { Encoder } = require('./codec');
const { Close, Connection, fromText } = require('./connection');
const frames = require('./frames');
const { ACK_DELAY_MS, Arrival, Replay } = require('./replay');
const { retryDelay } = require('./retry');
const { Reader, RingReader, Word } = require('./ring');
const { DEFAULT_LIMITS, ProtocolViolation, decodeFrame, isId, isMap } = require('./session');

const BATCH_BYTES = 256 * 1024;
const HIGH_WATER = 4 * 1024 * 1024;
const LINGER_MS = 1;
const OPENING_MS = 10_000;
const REOPENING_MS = 5000;
const LAST_WORDS_MS = 2000;

const { memory, control, large, path, token, about } = workerData;
const { header, status } = memory;
const ring = new RingReader(memory, large);
/** @type {Replay<import('./frames').Frame & {position: number}>} */
const replay = new Replay();

let limits = DEFAULT_LIMITS;
let secret = token;
let inText = false;
/** @type {Connection | null} */
let connection = null;
/** Messages of this thread's own, for the next frame. @type {Uint8Array[]} */
const answers = [];
/** What the script's thread wants to close with. @type {{code: number, reason: string} | null} */
let closing = null;
let isOver = false;
/** The ring is not empty, and the supervisor has to acknowledge something first. */
let waitsForRoom = false;
/** How long the supervisor waits for another connection, and until when for the one that is missing. */
let windowMs = 0;
let windowEnd = 0;
let attempts = 0;
/** @type {NodeJS.Timeout | null} */
let linger = null;
/** @type {NodeJS.Timeout | null} */
let owing = null;

connect(null, OPENING_MS);

control.on('message', (/** @type {any} */ message) => {
  if (message !== null) closing = message.close;
  drain();
});

// -- connections ------------------------------------------------------------------------------------------------

/** @param {number | null} received @param {number} timeoutMs */
function connect(received, timeoutMs) {
  /** @type {Connection} */
  const made = new Connection(
    { path, secret, about, received, timeoutMs },
    {
      onOpen: opened,
      onFrame: (frame) => {
        if (typeof frame === 'string') receiveText(frame);
        else receive(frame, false);
      },
      onEnd: ended,
      onViolation: (how) => report({ violation: how }),
    },
  );
  connection = made;
}

/** @param {import('./opening').Welcome} welcome */
function opened(welcome) {
  const isFirst = windowEnd === 0;
  ({ limits, secret, windowMs } = welcome);
  attempts = 0;
  windowEnd = Infinity;
  if (isFirst) {
    report({ welcome: { limits, windowMs } });
  } else {
    try {
      replay.resume(welcome.received);
    } catch (error) {
      report({ violation: /** @type {Error} */ (error).message });
      return;
    }
  }
  drain();
}

/** @param {import('./connection').End} end */
function ended(end) {
  connection = null;
  if (end.isOver || windowMs === 0 || closing?.code === Close.VIOLATION) {
    // Only a refusal of the first opening says something about this agent.
    over(end.reason, end.code, end.isRefused && windowEnd === 0);
    return;
  }
  const now = performance.now();
  if (windowEnd === Infinity) windowEnd = now + windowMs;
  const delay = retryDelay(attempts, Math.random());
  attempts += 1;
  setTimeout(comeBack, Math.max(0, Math.min(delay, windowEnd - now)), end);
}

/** @param {import('./connection').End} end */
function comeBack(end) {
  const left = windowEnd - performance.now();
  if (left <= 0) over(end.reason, end.code, false);
  else connect(replay.received, Math.min(REOPENING_MS, left));
}

/** This connection is of no more use; the session is. @param {string} reason */
function cut(reason) {
  const former = connection;
  connection = null;
  former?.drop(Close.CUT);
  ended({ reason, code: Close.CUT, isOver: false, isRefused: false });
}

/** @param {string} reason @param {number} code @param {boolean} isRefused */
function over(reason, code, isRefused) {
  isOver = true;
  if (linger !== null) clearTimeout(linger);
  if (owing !== null) clearTimeout(owing);
  report({ closed: reason, code, isRefused });
  Atomics.store(header, Word.CLOSED, 1);
  for (const word of [Word.CLOSED, Word.HEAD, Word.LARGE_BYTES, Word.SENT]) Atomics.notify(header, word);
  // A script that never yields would keep the process for ever.
  if (closing === null) setTimeout(() => process.kill(process.pid, 'SIGKILL'), LAST_WORDS_MS).unref();
}

// -- what leaves ------------------------------------------------------------------------------------------------

/** Sends what is to be sent again and what is in the ring, in as few frames as the limits allow, and closes behind it. */
function drain() {
  if (isOver) return;
  if (closing !== null && closing.code === Close.VIOLATION) {
    goodbye();
    return;
  }
  if (connection === null || !connection.isOpen) return;
  if (linger !== null) clearTimeout(linger);
  linger = null;
  waitsForRoom = false;
  Atomics.store(header, Word.READER, Reader.AWAKE);
  let hasSent = false;
  for (;;) {
    while (replay.hasNext || (replay.hasRoom && (answers.length > 0 || !ring.isEmpty))) {
      // Where the supervisor reads slowly, the ring fills, and then the script waits.
      if (connection.bufferedAmount > HIGH_WATER && closing === null) return;
      if (!replay.hasNext) pack();
      sendNext(connection);
      hasSent = true;
    }
    if (replay.isDue) {
      replay.told();
      connection.send(frames.acknowledgement(replay.received, inText), () => {});
    }
    waitsForRoom = !replay.hasRoom && !ring.isEmpty;
    if (waitsForRoom) return;
    const lingers = hasSent && Atomics.load(header, Word.WAITING) > 0;
    Atomics.store(header, Word.READER, lingers ? Reader.LINGERING : Reader.ASLEEP);
    if (lingers && Atomics.load(header, Word.WAITING) > 0) {
      linger = setTimeout(drain, LINGER_MS);
      return;
    }
    // The writer may have looked before the line above said that somebody must wake this thread.
    if (ring.isEmpty && !lingers) break;
    Atomics.store(header, Word.READER, Reader.AWAKE);
  }
  if (closing !== null) goodbye();
}

/** Makes a frame of what is ready. */
function pack() {
  const messages =
    answers.length > 0
      ? answers.splice(0, limits.max_batch)
      : ring.take(limits.max_batch, Math.min(BATCH_BYTES, limits.max_frame / 2));
  const frame = frames.make(messages, replay.following, replay.received, inText ? limits.max_depth : null);
  replay.keep({ ...frame, position: ring.position }, frame.data.length);
}

/** @param {Connection} to */
function sendNext(to) {
  const { received } = replay;
  const { number, frame } = replay.next();
  to.send(frames.withAcknowledged(frame, number, received), () => {
    Atomics.store(header, Word.SENT, frame.position);
    Atomics.notify(header, Word.SENT);
    if (to.bufferedAmount <= HIGH_WATER && !ring.isEmpty) drain();
  });
}

function goodbye() {
  if (connection !== null && closing !== null) connection.close(closing.code, closing.reason);
  else over('closed', Close.DONE, false);
}

// -- what arrives -----------------------------------------------------------------------------------------------

/** @param {string} text */
function receiveText(text) {
  let frame;
  try {
    frame = fromText(text);
  } catch (error) {
    report({ violation: /** @type {Error} */ (error).message });
    return;
  }
  receive(frame, true);
}

/** @param {Uint8Array} frame MessagePack, not yet checked; this function's own @param {boolean} isText as it came */
function receive(frame, isText) {
  inText = isText;
  let arrival;
  try {
    const { number, acknowledged } = frames.readHeader(frame);
    arrival = replay.arrived(number, acknowledged, frame.length);
    if (arrival === Arrival.GAP) {
      cut(`frame ${number} came after ${replay.received}`);
      return;
    }
  } catch (error) {
    if (!(error instanceof ProtocolViolation)) throw error;
    report({ violation: error.message });
    return;
  }
  if (arrival === Arrival.NEW && !(Buffer.from(frame.buffer).includes('ping') && answerPings(frame))) {
    control.postMessage(frame, [frame.buffer]);
    arrived();
  }
  if (replay.isDue || answers.length > 0 || (waitsForRoom && replay.hasRoom)) drain();
  else if (replay.owes && owing === null) owing = setTimeout(acknowledge, ACK_DELAY_MS);
}

function acknowledge() {
  owing = null;
  replay.insist();
  if (replay.isDue) drain();
}

/**
 * Answers the pings in a frame; the session passes over them.
 * @param {Uint8Array} frame
 * @returns {boolean} whether there was nothing else in it
 */
function answerPings(frame) {
  let content;
  try {
    content = decodeFrame(frame, limits.max_depth);
  } catch {
    return false; // for the session to complain about
  }
  const messages = content.slice(2);
  const pings = messages.filter(
    (/** @type {any} */ message) => isMap(message) && message.method === 'ping' && isId(message.id),
  );
  for (const { id } of pings) {
    const [activation, since] = status;
    const encoder = new Encoder(128);
    encoder.value(
      {
        jsonrpc: '2.0',
        id,
        result: activation === 0 ? { busy: null, busy_ms: 0 } : { busy: activation, busy_ms: Math.max(Date.now() - since, 0) },
      },
      limits.max_depth,
    );
    answers.push(encoder.written());
  }
  // One that is malformed is not answered here, and must reach the session. So must a params that is no map.
  return (
    pings.length === messages.length &&
    messages.length <= limits.max_batch &&
    messages.every((/** @type {any} */ ping) => ping.jsonrpc === '2.0' && isMap(ping.params ?? {}))
  );
}

/** @param {import('./link').LinkReport} message */
function report(message) {
  control.postMessage(message);
  arrived();
}

/** Wakes a script that waits for an answer without yielding. */
function arrived() {
  Atomics.add(header, Word.FRAMES, 1);
  Atomics.notify(header, Word.FRAMES);
}
