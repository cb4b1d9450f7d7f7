'use strict';
/**
 * The link's own thread: holds the WebSocket, so that pings are answered and frames are read while a script is busy.
 *
 * It decides how messages are put into frames (specs/protocol.md §2) and when these leave. What they say it does not
 * look at, with two exceptions: it answers `ping`, and it translates between text frames and the MessagePack that the
 * rest of the agent speaks.
 */

const net = require('node:net');
const { workerData } = require('node:worker_threads');
const WebSocket = require('ws');
const { Encoder, decode } = require('./codec');
const { Reader, RingReader, Word } = require('./ring');
const { DEFAULT_LIMITS, isId, isMap } = require('./session');

const BATCH_BYTES = 256 * 1024;
const HIGH_WATER = 4 * 1024 * 1024;
const LINGER_MS = 1;
const HANDSHAKE_MS = 10_000;
/** By then everything has left this process; a peer that does not close its end is not waited for longer. */
const CLOSE_MS = 250;
const LAST_WORDS_MS = 2000;
const MAX_PAYLOAD = 2 ** 30;
const MAX_REASON_BYTES = 123;
const NO_MASK = Buffer.alloc(4);

const { memory, control, large, path, token } = workerData;
const { header, status } = memory;
const ring = new RingReader(memory, large);

let limits = DEFAULT_LIMITS;
let inText = false;
let failure = '';
let isClosing = false;
/** @type {NodeJS.Timeout | null} */
let linger = null;

const socket = new WebSocket('ws://localhost/agent', ['reflow.v1'], {
  createConnection: () => net.createConnection(path),
  headers: { Authorization: `Bearer ${token}` },
  perMessageDeflate: false,
  handshakeTimeout: HANDSHAKE_MS,
  closeTimeout: CLOSE_MS,
  // The session refuses what is over the negotiated limit, which is not known yet.
  maxPayload: MAX_PAYLOAD,
  // Masks protect proxies from what a browser sends. There is none on a Unix socket, and a mask of zeros costs nothing.
  generateMask: (/** @type {Buffer} */ mask) => NO_MASK.copy(mask),
});

socket.on('open', drain);
socket.on('error', (error) => {
  failure = error.message;
});
socket.on('close', (code, reason) => {
  if (linger !== null) clearTimeout(linger);
  report({ closed: failure || reason.toString() || `the supervisor closed with ${code}`, code });
  Atomics.store(header, Word.CLOSED, 1);
  for (const word of [Word.CLOSED, Word.HEAD, Word.LARGE_BYTES, Word.SENT]) Atomics.notify(header, word);
  // A script that never yields would keep the process for ever.
  if (!isClosing) setTimeout(() => process.kill(process.pid, 'SIGKILL'), LAST_WORDS_MS).unref();
});
socket.on('message', (data, isBinary) => {
  inText = !isBinary;
  if (inText) receiveText(/** @type {Buffer} */ (data));
  else receive(new Uint8Array(/** @type {Buffer} */ (data)));
});

control.on('message', (/** @type {any} */ message) => {
  if (message === null) {
    drain();
  } else if (message.limits) {
    limits = message.limits;
  } else {
    isClosing = true;
    drain();
    const reason = Buffer.from(message.close.reason).subarray(0, MAX_REASON_BYTES).toString().replace(/\ufffd$/, '');
    socket.close(message.close.code, reason);
  }
});

/** Sends what is in the ring, in as few frames as the limits allow. */
function drain() {
  if (socket.readyState !== WebSocket.OPEN) return;
  if (linger !== null) clearTimeout(linger);
  linger = null;
  Atomics.store(header, Word.READER, Reader.AWAKE);
  let hasSent = false;
  for (;;) {
    while (!ring.isEmpty) {
      // Where the supervisor reads slowly, the ring fills, and then the script waits.
      if (socket.bufferedAmount > HIGH_WATER && !isClosing) return;
      send(ring.take(limits.max_batch, Math.min(BATCH_BYTES, limits.max_frame / 2)));
      hasSent = true;
    }
    const lingers = hasSent && Atomics.load(header, Word.WAITING) > 0;
    Atomics.store(header, Word.READER, lingers ? Reader.LINGERING : Reader.ASLEEP);
    if (lingers && Atomics.load(header, Word.WAITING) > 0) {
      linger = setTimeout(drain, LINGER_MS);
      return;
    }
    // The writer may have looked before the line above said that somebody must wake this thread.
    if (ring.isEmpty && !lingers) return;
    Atomics.store(header, Word.READER, Reader.AWAKE);
  }
}

/** @param {Uint8Array[]} messages encoded, at least one */
function send(messages) {
  const { position } = ring;
  socket.send(inText ? toText(messages) : toFrame(messages), () => {
    Atomics.store(header, Word.SENT, position);
    Atomics.notify(header, Word.SENT);
    if (socket.bufferedAmount <= HIGH_WATER && !ring.isEmpty) drain();
  });
}

/** @param {Uint8Array[]} messages @returns {Uint8Array} */
function toFrame(messages) {
  if (messages.length === 1) return messages[0];
  const encoder = new Encoder(5 + messages.reduce((size, message) => size + message.length, 0));
  encoder.arrayHeader(messages.length);
  for (const message of messages) encoder.raw(message);
  return encoder.written();
}

/** @param {Uint8Array[]} messages @returns {string} */
function toText(messages) {
  return require('./text').encode(messages.map((message) => decode(message, limits.max_depth)));
}

/** @param {Uint8Array} frame MessagePack, not yet checked; this function's own */
function receive(frame) {
  if (Buffer.from(frame.buffer).includes('ping') && answerPings(frame)) return;
  control.postMessage(frame, [frame.buffer]);
  arrived();
}

/** @param {Buffer} data */
function receiveText(data) {
  let frame;
  try {
    frame = require('./text').decode(data.toString());
  } catch (error) {
    report({ violation: error.message });
    return;
  }
  receive(frame);
}

/**
 * Answers the pings in a frame; the session passes over them.
 * @param {Uint8Array} frame
 * @returns {boolean} whether there was nothing else in it
 */
function answerPings(frame) {
  let content;
  try {
    content = decode(frame, limits.max_depth);
  } catch {
    return false; // for the session to complain about
  }
  const messages = Array.isArray(content) ? content : [content];
  const pings = messages.filter((message) => isMap(message) && message.method === 'ping' && isId(message.id));
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
    const answer = encoder.written();
    if (socket.readyState === WebSocket.OPEN) socket.send(inText ? toText([answer]) : answer);
  }
  // One that is malformed is not answered here, and must reach the session. So must a params that is no map.
  return pings.length === messages.length && messages.every((ping) => ping.jsonrpc === '2.0' && isMap(ping.params ?? {}));
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
