'use strict';
/**
 * Frames that outlive their connection: how they are numbered, acknowledged, kept, and sent again.
 *
 * The frames of a session are numbered from 1 in each direction. Each carries its own number and the highest one that
 * has come in order from the other side; what is not acknowledged is kept. When a connection is cut, each side tells the
 * other what it has, over the next one, and the rest is sent again. So each frame arrives once and in order, whatever
 * becomes of the connections.
 *
 * This module decides which frames are new, which may leave, which are kept and when an acknowledgement is due. It knows
 * neither messages nor sockets nor time: a frame is what its user says it is, and the user says when there is another
 * connection (`resume`) and when an acknowledgement has waited long enough (`insist`). Python's is `wire/replay.py`.
 */

const { ProtocolViolation } = require('./session');

const KIB = 1024;
const MIB = 1024 * KIB;

/** Milliseconds that an acknowledgement waits for a frame to go with, before it goes alone. */
const ACK_DELAY_MS = 200;

/**
 * How much may be unacknowledged before nothing new leaves, and after how much an acknowledgement is due.
 *
 * Both ends have the same, and the latter is well below the former: a peer that reads holds nobody up. One frame may be
 * larger than `maxBytes`: it leaves while less than that is unacknowledged.
 * @typedef {{maxFrames: number, maxBytes: number, ackFrames: number, ackBytes: number}} Window
 * @type {Readonly<Window>}
 */
const WINDOW = Object.freeze({ maxFrames: 1024, maxBytes: 8 * MIB, ackFrames: 64, ackBytes: MIB });

/**
 * What a frame that arrived is: the next one; one that came before, which is ignored; one before which another is
 * missing, so that the connection must be replaced; one that carries no messages.
 */
const Arrival = Object.freeze({ NEW: 'new', DUPLICATE: 'duplicate', GAP: 'gap', ACKNOWLEDGEMENT: 'acknowledgement' });

/**
 * One session's frames, on either side.
 * @template F
 */
class Replay {
  /** The highest number that came in order. */
  received = 0;
  /** The highest number that the peer is known to have. */
  acknowledged = 0;
  /** The highest number that a connection was given. */
  sent = 0;
  #window;
  /** @type {{frame: F, size: number}[]} from number `acknowledged + 1` on */
  #kept = [];
  #bytes = 0;
  /** The number of the frame that goes next on this connection. */
  #next = 1;
  /** The highest number that was acknowledged to the peer. */
  #told = 0;
  #untoldBytes = 0;
  /** So much came that was not acknowledged, or so long ago, that it is to be done even without a frame. */
  isDue = false;

  /** @param {Window} [window] */
  constructor(window = WINDOW) {
    this.#window = window;
  }

  // -- what leaves ----------------------------------------------------------------------------------------------

  /** Whether a new frame may be kept. Where not, it waits until the peer acknowledges some. */
  get hasRoom() {
    return this.#kept.length < this.#window.maxFrames && this.#bytes < this.#window.maxBytes;
  }

  /** How many frames wait to be acknowledged. */
  get kept() {
    return this.#kept.length;
  }

  get keptBytes() {
    return this.#bytes;
  }

  /** Whether a kept frame is still to be sent on this connection. */
  get hasNext() {
    return this.#next <= this.acknowledged + this.#kept.length;
  }

  /** The number that the next new frame gets. */
  get following() {
    return this.acknowledged + this.#kept.length + 1;
  }

  /** A new frame, of so many bytes. It is the caller's to look at `hasRoom` before. @param {F} frame @param {number} size */
  keep(frame, size) {
    this.#kept.push({ frame, size });
    this.#bytes += size;
  }

  /**
   * The frame to send now; it goes with an acknowledgement of `received`. Only where `hasNext`.
   * @returns {{number: number, frame: F}}
   */
  next() {
    const number = this.#next;
    const { frame } = this.#kept[number - this.acknowledged - 1];
    this.#next = number + 1;
    if (number > this.sent) this.sent = number;
    this.told();
    return { number, frame };
  }

  // -- acknowledgements -----------------------------------------------------------------------------------------

  /** Whether something came that was not acknowledged. */
  get owes() {
    return this.#told < this.received;
  }

  /** What came and was not acknowledged has waited long enough. */
  insist() {
    this.isDue = this.owes;
  }

  /** An acknowledgement of `received` is sent. */
  told() {
    this.#told = this.received;
    this.#untoldBytes = 0;
    this.isDue = false;
  }

  // -- what arrives ---------------------------------------------------------------------------------------------

  /**
   * A frame of so many bytes came. An acknowledgement that is older than what is known already says nothing: a frame
   * that is sent twice has one.
   * @param {number} number @param {number} acknowledged @param {number} size
   * @returns {string} an Arrival
   * @throws {ProtocolViolation} it acknowledges what was never sent
   */
  arrived(number, acknowledged, size) {
    if (acknowledged > this.acknowledged) {
      if (acknowledged > this.sent) {
        throw new ProtocolViolation(`frame ${acknowledged} is acknowledged, and only ${this.sent} were sent`);
      }
      this.#drop(acknowledged);
    }
    if (number === 0) return Arrival.ACKNOWLEDGEMENT;
    if (number <= this.received) return Arrival.DUPLICATE;
    if (number > this.received + 1) return Arrival.GAP;
    this.received = number;
    this.#untoldBytes += size;
    const { ackFrames, ackBytes } = this.#window;
    if (number - this.#told >= ackFrames || this.#untoldBytes >= ackBytes) this.isDue = true;
    return Arrival.NEW;
  }

  /** @param {number} acknowledged */
  #drop(acknowledged) {
    for (let i = this.acknowledged; i < acknowledged; i += 1) {
      this.#bytes -= /** @type {{frame: F, size: number}} */ (this.#kept.shift()).size;
    }
    this.acknowledged = acknowledged;
    // Frames that were to be sent again have come after all, with the connection before.
    this.#next = Math.max(this.#next, acknowledged + 1);
  }

  // -- another connection ---------------------------------------------------------------------------------------

  /**
   * There is another connection, over which the peer has said what it has, and was told what came (`received`). What it
   * has not is sent again.
   * @param {number} received
   * @throws {ProtocolViolation} that cannot be
   */
  resume(received) {
    if (received > this.sent) {
      throw new ProtocolViolation(`the peer says that it has frame ${received}, and only ${this.sent} were sent`);
    }
    if (received < this.acknowledged) {
      throw new ProtocolViolation(
        `the peer says that it has ${received} frames, after it had acknowledged ${this.acknowledged}`,
      );
    }
    this.#drop(received);
    this.#next = received + 1;
    this.told();
  }
}

module.exports = { ACK_DELAY_MS, Arrival, Replay, WINDOW };
