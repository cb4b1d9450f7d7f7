'use strict';
/**
 * Encoded messages from the script's thread to the link's, through a ring in memory that both see.
 *
 * One writer, one reader. A message costs the writer a copy and two atomic stores; it wakes the reader only where that
 * sleeps. So an answer never waits behind the script that runs next, however long that takes, and still those
 * that are ready together are taken together. What is too large for the ring goes through a message port, in its turn.
 * A full ring stops the writer until the link has taken something: that is the script's back-pressure.
 *
 * Positions count bytes since the start, modulo 2³²; a record is a length, the bytes, and padding to four.
 */

const { receiveMessageOnPort } = require('node:worker_threads');

const CAPACITY = 256 * 1024;
const MASK = CAPACITY - 1;
const MAX_INLINE = CAPACITY / 8;
const MAX_LARGE_BYTES = 64 * 1024 * 1024;
const ALIGN = 4;
const LENGTH = 4;

/** In the place of a length: the ring goes on at its start; the next message is in the port. */
const WRAP = 0xffffffff;
const LARGE = 0xfffffffe;

/** Words of the header. FRAMES counts what arrived, for a script that waits for an answer without yielding. */
const Word = Object.freeze({ HEAD: 0, TAIL: 1, READER: 2, LARGE_BYTES: 3, SENT: 4, WAITING: 5, FRAMES: 6, CLOSED: 7, count: 8 });

/** What the reader does: it is at work; it sleeps; it gives the writer a moment to add more. */
const Reader = Object.freeze({ AWAKE: 0, ASLEEP: 1, LINGERING: 2 });

/**
 * @typedef {{header: Int32Array, data: Uint8Array, status: Float64Array}} SharedMemory
 * `status`: the running activation (0: none) and when it began, in milliseconds since 1970
 */

/** @returns {SharedMemory} */
function allocate() {
  return {
    header: new Int32Array(new SharedArrayBuffer(Word.count * Int32Array.BYTES_PER_ELEMENT)),
    data: new Uint8Array(new SharedArrayBuffer(CAPACITY)),
    status: new Float64Array(new SharedArrayBuffer(2 * Float64Array.BYTES_PER_ELEMENT)),
  };
}

class RingWriter {
  #header;
  #data;
  #view;
  #largePort;
  #wake;

  /**
   * @param {SharedMemory} memory
   * @param {import('node:worker_threads').MessagePort} largePort
   * @param {() => void} wake makes the reader read
   */
  constructor({ header, data }, largePort, wake) {
    this.#header = header;
    this.#data = data;
    this.#view = new DataView(data.buffer);
    this.#largePort = largePort;
    this.#wake = wake;
  }

  /** @param {Uint8Array} bytes one message; copied. Lost when the link is closed. */
  write(bytes) {
    if (bytes.length > MAX_INLINE) this.#writeLarge(bytes);
    else this.#record(bytes.length, bytes);
  }

  /** Nothing more is ready: the reader need not linger. */
  flush() {
    if (Atomics.load(this.#header, Word.READER) !== Reader.AWAKE) this.#ring();
  }

  /** @param {Uint8Array} bytes */
  #writeLarge(bytes) {
    if (!this.#blockUntil(Word.LARGE_BYTES, (inFlight) => inFlight <= MAX_LARGE_BYTES)) return;
    const copy = Uint8Array.prototype.slice.call(bytes);
    Atomics.add(this.#header, Word.LARGE_BYTES, bytes.length);
    this.#largePort.postMessage(copy, [copy.buffer]);
    this.#record(LARGE, null);
  }

  /** @param {number} length or LARGE @param {Uint8Array | null} bytes */
  #record(length, bytes) {
    const size = bytes === null ? LENGTH : (LENGTH + bytes.length + ALIGN - 1) & -ALIGN;
    let tail = Atomics.load(this.#header, Word.TAIL);
    const untilEnd = CAPACITY - (tail & MASK);
    const wraps = size > untilEnd;
    const needed = wraps ? size + untilEnd : size;
    if (!this.#blockUntil(Word.HEAD, (head) => ((tail - head) >>> 0) + needed <= CAPACITY)) return;
    if (wraps) {
      this.#view.setUint32(tail & MASK, WRAP);
      tail = (tail + untilEnd) | 0;
    }
    const at = tail & MASK;
    this.#view.setUint32(at, length);
    if (bytes !== null) this.#data.set(bytes, at + LENGTH);
    Atomics.store(this.#header, Word.TAIL, (tail + size) | 0);
    if (Atomics.load(this.#header, Word.READER) === Reader.ASLEEP) this.#ring();
  }

  /**
   * Waits, without yielding, until a word of the header satisfies something.
   * @param {number} word @param {(value: number) => boolean} satisfied @returns {boolean} false: the link is closed
   */
  #blockUntil(word, satisfied) {
    for (;;) {
      const value = Atomics.load(this.#header, word);
      if (Atomics.load(this.#header, Word.CLOSED) !== 0) return false;
      if (satisfied(value)) return true;
      this.flush();
      // Bounded only against a wake-up that never comes because the other thread died.
      Atomics.wait(this.#header, word, value, 1000);
    }
  }

  #ring() {
    if (Atomics.exchange(this.#header, Word.READER, Reader.AWAKE) !== Reader.AWAKE) this.#wake();
  }

  /** @returns {number} the position behind all that was written, as SENT will have it */
  get position() {
    return Atomics.load(this.#header, Word.TAIL);
  }
}

class RingReader {
  #header;
  #data;
  #view;
  #largePort;

  /** @param {SharedMemory} memory @param {import('node:worker_threads').MessagePort} largePort */
  constructor({ header, data }, largePort) {
    this.#header = header;
    this.#data = data;
    this.#view = new DataView(data.buffer);
    this.#largePort = largePort;
  }

  get isEmpty() {
    return Atomics.load(this.#header, Word.HEAD) === Atomics.load(this.#header, Word.TAIL);
  }

  /** @returns {number} the position behind all that was taken */
  get position() {
    return Atomics.load(this.#header, Word.HEAD);
  }

  /**
   * Takes what is there.
   * @param {number} maxCount at least 1
   * @param {number} maxBytes of all together; a single message may be larger
   * @returns {Uint8Array[]} copies, oldest first
   */
  take(maxCount, maxBytes) {
    const tail = Atomics.load(this.#header, Word.TAIL);
    let head = Atomics.load(this.#header, Word.HEAD);
    const taken = [];
    let bytes = 0;
    while (head !== tail && taken.length < maxCount) {
      const at = head & MASK;
      const length = this.#view.getUint32(at);
      if (length === WRAP) {
        head = (head + CAPACITY - at) | 0;
        continue;
      }
      // A large one travels alone.
      if (taken.length > 0 && (length === LARGE || bytes + length > maxBytes)) break;
      if (length === LARGE) {
        taken.push(this.#large());
        head = (head + LENGTH) | 0;
        break;
      }
      taken.push(this.#data.slice(at + LENGTH, at + LENGTH + length));
      bytes += length;
      head = (head + ((LENGTH + length + ALIGN - 1) & -ALIGN)) | 0;
    }
    Atomics.store(this.#header, Word.HEAD, head);
    Atomics.notify(this.#header, Word.HEAD);
    return taken;
  }

  /** @returns {Uint8Array} */
  #large() {
    // It was posted before the record that announced it.
    const { message } = /** @type {{message: Uint8Array}} */ (receiveMessageOnPort(this.#largePort));
    Atomics.sub(this.#header, Word.LARGE_BYTES, message.length);
    Atomics.notify(this.#header, Word.LARGE_BYTES);
    return message;
  }
}

module.exports = { Reader, RingReader, RingWriter, Word, allocate };
