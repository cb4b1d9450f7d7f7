'use strict';
/**
 * MessagePack as the agent protocol uses it: a strict decoder, a validator, and an encoder of plain values.
 *
 * It decides what bytes are well formed and how deep, and how JavaScript values map to them: integers beyond
 * ±(2⁵³−1) are BigInts, a Number is an integer when it is a safe one (−0 is a float), bytes are Uint8Arrays. It does
 * not know what the values mean; the forms of messages are in `forms.js` and `message.js`, typed arrays in `arrays.js`,
 * JSON-RPC in `session.js`.
 *
 * Written here rather than taken from a package because everything it must refuse (extension types where no message
 * is, keys that are not strings, depth, bytes that trail, invalid UTF-8) or keep (`__proto__` as a key like any other,
 * −0, exact 64-bit integers) is what general codecs accept or change.
 */

const { isUtf8 } = require('node:buffer');
const arrays = require('./arrays');
const { EncodeError, MalformedError } = require('./errors');

const MIN_INTEGER = -(2n ** 63n);
const MAX_INTEGER = 2n ** 63n - 1n;
const QUIET_NAN = 0x7ff8000000000000n;

/** By the first byte of an extension of fixed size, how long its content is. */
const FIXED_LENGTH = new Map([[0xd4, 1], [0xd5, 2], [0xd6, 4], [0xd7, 8], [0xd8, 16]]);
const FIXED_BYTE = new Map([...FIXED_LENGTH].map(([byte, length]) => [length, byte]));

/**
 * Reads one value after another from a buffer.
 *
 * Every length is checked against the bytes that are there before anything is allocated for it, so a frame can
 * never ask for more memory than it itself takes (times a constant).
 */
class Decoder {
  /**
   * @param {Uint8Array} bytes
   * @param {number} maxDepth how many arrays and maps may stand inside one another
   */
  constructor(bytes, maxDepth) {
    this.bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.doubles = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.end = bytes.byteLength;
    this.pos = 0;
    this.depth = maxDepth;
  }

  /** @param {number} length @returns {number} where these bytes start; moves past them */
  take(length) {
    const start = this.pos;
    if (length > this.end - start) throw new MalformedError('the frame ends inside a value');
    this.pos = start + length;
    return start;
  }

  /** There is nothing behind what was read. */
  finish() {
    if (this.pos !== this.end) throw new MalformedError('bytes trail after the message');
  }

  /** @returns {number} the next byte; stays before it */
  peek() {
    if (this.pos === this.end) throw new MalformedError('the frame ends inside a value');
    return this.bytes[this.pos];
  }

  uint8() {
    return this.bytes[this.take(1)];
  }

  uint16() {
    const at = this.take(2);
    return (this.bytes[at] << 8) | this.bytes[at + 1];
  }

  uint32() {
    return this.bytes.readUInt32BE(this.take(4));
  }

  /** @returns {any} */
  value() {
    const head = this.uint8();
    if (head < 0x80) return head;
    if (head < 0x90) return this.map(head & 0x0f);
    if (head < 0xa0) return this.array(head & 0x0f);
    if (head < 0xc0) return this.string(head & 0x1f);
    if (head >= 0xe0) return head - 0x100;
    switch (head) {
      case 0xc0: return null;
      case 0xc2: return false;
      case 0xc3: return true;
      case 0xc4: return this.binary(this.uint8());
      case 0xc5: return this.binary(this.uint16());
      case 0xc6: return this.binary(this.uint32());
      case 0xca: return this.doubles.getFloat32(this.take(4));
      case 0xcb: return this.doubles.getFloat64(this.take(8));
      case 0xcc: return this.uint8();
      case 0xcd: return this.uint16();
      case 0xce: return this.uint32();
      case 0xcf: return this.uint64();
      case 0xd0: return this.bytes.readInt8(this.take(1));
      case 0xd1: return this.bytes.readInt16BE(this.take(2));
      case 0xd2: return this.bytes.readInt32BE(this.take(4));
      case 0xd3: return narrow(this.bytes.readBigInt64BE(this.take(8)));
      case 0xd9: return this.string(this.uint8());
      case 0xda: return this.string(this.uint16());
      case 0xdb: return this.string(this.uint32());
      case 0xdc: return this.array(this.uint16());
      case 0xdd: return this.array(this.uint32());
      case 0xde: return this.map(this.uint16());
      case 0xdf: return this.map(this.uint32());
      default:
        this.pos -= 1;
        return this.extension();
    }
  }

  /**
   * @param {((key: string) => any) | undefined} member reads the members of a map
   * @param {((index: number) => any) | undefined} item reads the items of an array
   * @returns {any} what `value` gives otherwise
   */
  valueOf(member, item) {
    const head = this.peek();
    if (head < 0x80 || (head >= 0xa0 && head < 0xdc) || head > 0xdf) return this.value();
    this.pos += 1;
    if (head < 0x90) return this.map(head & 0x0f, member);
    if (head < 0xa0) return this.array(head & 0x0f, item);
    const length = (head & 1) === 0 ? this.uint16() : this.uint32();
    return head < 0xde ? this.array(length, item) : this.map(length, member);
  }

  /** @returns {any} */
  extension() {
    throw new MalformedError('a MessagePack extension type');
  }

  /** Moves to the content of an extension. @returns {{code: number, end: number}} */
  extensionHeader() {
    const head = this.uint8();
    let length = FIXED_LENGTH.get(head);
    if (head === 0xc7) length = this.uint8();
    else if (head === 0xc8) length = this.uint16();
    else if (head === 0xc9) length = this.uint32();
    else if (length === undefined) throw new MalformedError('a byte that begins nothing');
    const code = this.bytes.readInt8(this.take(1));
    const end = this.pos + length;
    if (end > this.end) throw new MalformedError('the frame ends inside an extension');
    return { code, end };
  }

  uint64() {
    const value = this.bytes.readBigUInt64BE(this.take(8));
    if (value > MAX_INTEGER) throw new MalformedError('an integer over 64 bits');
    return narrow(value);
  }

  /** @param {number} length */
  string(length) {
    const start = this.take(length);
    if (length < 16) {
      // Short strings are mostly ASCII names, which this reads faster than a call into C++ does.
      let text = '';
      let at = start;
      for (; at < this.pos; at += 1) {
        const byte = this.bytes[at];
        if (byte > 0x7f) break;
        text += String.fromCharCode(byte);
      }
      if (at === this.pos) return text;
    }
    const text = this.bytes.utf8Slice(start, this.pos);
    // Decoding puts U+FFFD in place of what is no UTF-8; it may also be a character that was really sent.
    if (text.includes('\ufffd') && !isUtf8(this.bytes.subarray(start, this.pos))) {
      throw new MalformedError('a string that is not UTF-8');
    }
    return text;
  }

  /** @param {number} length @returns {Buffer} a copy: scripts may keep it, and must not keep the frame alive */
  binary(length) {
    const start = this.take(length);
    return Buffer.from(Uint8Array.prototype.slice.call(this.bytes, start, this.pos).buffer);
  }

  /** @param {number} length @param {(index: number) => any} [item] */
  array(length, item) {
    if (length > this.end - this.pos) throw new MalformedError('the frame ends inside an array');
    this.enter();
    const items = new Array(length);
    if (item === undefined) for (let i = 0; i < length; i += 1) items[i] = this.value();
    else for (let i = 0; i < length; i += 1) items[i] = item(i);
    this.depth += 1;
    return items;
  }

  /** @param {number} length @param {(key: string) => any} [member] */
  map(length, member) {
    if (length * 2 > this.end - this.pos) throw new MalformedError('the frame ends inside a map');
    this.enter();
    /** @type {Record<string, any>} */
    const object = {};
    for (let i = 0; i < length; i += 1) {
      const key = this.key();
      const value = member === undefined ? this.value() : member(key);
      if (key === '__proto__') {
        // An assignment would call the setter of Object.prototype.
        Object.defineProperty(object, key, { value, writable: true, enumerable: true, configurable: true });
      } else {
        object[key] = value;
      }
    }
    this.depth += 1;
    return object;
  }

  key() {
    const head = this.uint8();
    if (head >= 0xa0 && head < 0xc0) return this.shortKey(head & 0x1f);
    if (head === 0xd9) return this.string(this.uint8());
    if (head === 0xda) return this.string(this.uint16());
    if (head === 0xdb) return this.string(this.uint32());
    throw new MalformedError('a map key that is not a string');
  }

  /**
   * Most keys came before: the same few names stand in every frame, and often in every message. One that is
   * remembered is no new string, and its object gets its shape at once.
   * @param {number} length under 32
   */
  shortKey(length) {
    if (length === 0) return '';
    const start = this.take(length);
    const { bytes } = this;
    const place = (length * 31 + bytes[start] * 7 + bytes[start + (length >> 1)] * 5 + bytes[start + length - 1]) % knownKeys.length;
    const known = knownKeys[place];
    if (known.length === length) {
      let same = 0;
      while (same < length && known.charCodeAt(same) === bytes[start + same]) same += 1;
      if (same === length) return known;
    }
    this.pos = start;
    const key = this.string(length);
    // As many characters as bytes: it is ASCII, and can be compared as above.
    if (key.length === length) knownKeys[place] = bytes.latin1Slice(start, start + length);
    return key;
  }

  enter() {
    this.depth -= 1;
    if (this.depth < 0) throw new MalformedError('values are nested too deep');
  }
}

/** @type {string[]} keys that came lately, each at a place that its characters say */
const knownKeys = new Array(512).fill('');

/** @param {bigint} value @returns {number | bigint} a Number wherever that is exact */
function narrow(value) {
  return value >= BigInt(Number.MIN_SAFE_INTEGER) && value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value;
}

/**
 * Decodes exactly one value.
 * @param {Uint8Array} bytes
 * @param {number} maxDepth
 * @returns {any}
 * @throws {MalformedError}
 */
function decode(bytes, maxDepth) {
  const decoder = new Decoder(bytes, maxDepth);
  const value = decoder.value();
  decoder.finish();
  return value;
}

/** A value that is encoded already, inside one that is not. */
class Encoded {
  /** @param {Uint8Array} bytes */
  constructor(bytes) {
    this.bytes = bytes;
  }
}

/** Writes values one after another into a buffer that grows. `reset(mark)` takes back what was written since. */
class Encoder {
  /** @param {number} [size] */
  constructor(size = 4096) {
    this.buffer = Buffer.allocUnsafeSlow(size);
    this.doubles = new DataView(this.buffer.buffer);
    this.pos = 0;
    /** Where the message begins that is being written; -1 outside of messages, where typed arrays are arrays of numbers. */
    this.origin = -1;
    /** Whether an extension that is being written has an aligned array in it, and must begin with a header of known size. */
    this.hasAligned = false;
  }

  /** @param {number} [mark] a former value of `pos` */
  reset(mark = 0) {
    this.pos = mark;
  }

  /** Gives the memory back that one large value took. @param {number} [size] */
  shrink(size = 4096) {
    this.buffer = Buffer.allocUnsafeSlow(size);
    this.doubles = new DataView(this.buffer.buffer);
    this.pos = 0;
  }

  /** @returns {Uint8Array} what was written; valid until the next write */
  written() {
    return this.buffer.subarray(0, this.pos);
  }

  /** @param {number} length @returns {number} where to write that many bytes; moves past them */
  reserve(length) {
    const start = this.pos;
    const end = start + length;
    if (end > this.buffer.length) {
      const grown = Buffer.allocUnsafeSlow(Math.max(end, this.buffer.length * 2));
      this.buffer.copy(grown, 0, 0, start);
      this.buffer = grown;
      this.doubles = new DataView(grown.buffer);
    }
    this.pos = end;
    return start;
  }

  /** @param {Uint8Array} bytes already encoded */
  raw(bytes) {
    const at = this.reserve(bytes.length);
    this.buffer.set(bytes, at);
  }

  nil() {
    const at = this.reserve(1);
    this.buffer[at] = 0xc0;
  }

  /** @param {number} length */
  arrayHeader(length) {
    this.header(length, 0x90, 15, 0xdc);
  }

  /** @param {number} length */
  mapHeader(length) {
    this.header(length, 0x80, 15, 0xde);
  }

  /**
   * @param {number} length @param {number} fixed @param {number} limit
   * @param {number} head16 its 32-bit form follows it
   * @param {boolean} [isLong] whether it takes that for any length
   */
  header(length, fixed, limit, head16, isLong = false) {
    if (length <= limit) {
      const at = this.reserve(1);
      this.buffer[at] = fixed | length;
    } else if (length < 0x10000 && !isLong) {
      const at = this.reserve(3);
      this.buffer[at] = head16;
      this.buffer[at + 1] = length >>> 8;
      this.buffer[at + 2] = length;
    } else {
      const at = this.reserve(5);
      this.buffer[at] = head16 + 1;
      this.buffer.writeUInt32BE(length, at + 1);
    }
  }

  /** @param {string} text lone surrogates become U+FFFD, as everywhere in JavaScript where text becomes UTF-8 */
  string(text) {
    const length = text.length;
    if (length < 32) {
      const at = this.reserve(length + 1);
      const buffer = this.buffer;
      let i = 0;
      for (; i < length; i += 1) {
        const code = text.charCodeAt(i);
        if (code > 0x7f) break;
        buffer[at + 1 + i] = code;
      }
      if (i === length) {
        buffer[at] = 0xa0 | length;
        return;
      }
      this.pos = at;
    }
    const size = Buffer.byteLength(text);
    if (size < 32) {
      const at = this.reserve(1);
      this.buffer[at] = 0xa0 | size;
    } else if (size < 0x100) {
      const at = this.reserve(2);
      this.buffer[at] = 0xd9;
      this.buffer[at + 1] = size;
    } else {
      // Of the 16- and 32-bit headers `header` writes the right one; there is no short form from here on.
      this.header(size, 0, -1, 0xda);
    }
    const at = this.reserve(size);
    this.buffer.utf8Write(text, at, size);
  }

  /** @param {Uint8Array} bytes */
  binary(bytes) {
    if (bytes.length < 0x100) {
      const at = this.reserve(2);
      this.buffer[at] = 0xc4;
      this.buffer[at + 1] = bytes.length;
    } else {
      this.header(bytes.length, 0, -1, 0xc5);
    }
    this.raw(bytes);
  }

  /** @param {boolean} value */
  boolean(value) {
    const at = this.reserve(1);
    this.buffer[at] = value ? 0xc3 : 0xc2;
  }

  /** @param {number} value */
  float(value) {
    const at = this.reserve(9);
    this.buffer[at] = 0xcb;
    this.doubles.setFloat64(at + 1, value);
    // Of the many that are no number, one is written.
    if (Number.isNaN(value)) this.doubles.setBigUint64(at + 1, QUIET_NAN);
  }

  /**
   * @param {number} code
   * @param {number} length of the content
   * @param {boolean} isLong whether the header has its largest size, whatever the length
   */
  extensionHeader(code, length, isLong) {
    if (isLong) this.hasAligned = true;
    const fixed = isLong ? undefined : FIXED_BYTE.get(length);
    if (fixed !== undefined) {
      const at = this.reserve(2);
      this.buffer[at] = fixed;
      this.buffer[at + 1] = code;
    } else if (length < 0x100 && !isLong) {
      const at = this.reserve(3);
      this.buffer[at] = 0xc7;
      this.buffer[at + 1] = length;
      this.buffer[at + 2] = code;
    } else {
      this.header(length, 0, -1, 0xc8, isLong);
      const at = this.reserve(1);
      this.buffer[at] = code;
    }
  }

  /**
   * Writes an extension around something whose length is known when it is written.
   * @param {number} code @param {() => void} write
   */
  extension(code, write) {
    const outer = this.hasAligned;
    const start = this.reserve(arrays.LONG_HEADER);
    const content = this.pos;
    this.hasAligned = false;
    write();
    const end = this.pos;
    this.pos = start;
    this.extensionHeader(code, end - content, this.hasAligned);
    this.buffer.copyWithin(this.pos, content, end);
    this.pos += end - content;
    this.hasAligned ||= outer;
  }

  /** @param {number | bigint} value an integer; the shortest form is written */
  integer(value) {
    if (typeof value === 'bigint') {
      const narrowed = narrow(value);
      if (typeof narrowed === 'bigint') {
        if (narrowed < MIN_INTEGER || narrowed > MAX_INTEGER) {
          throw new EncodeError(`the integer ${abbreviate(String(value))} does not fit 64 bits`);
        }
        const at = this.reserve(9);
        this.buffer[at] = narrowed < 0 ? 0xd3 : 0xcf;
        this.buffer.writeBigInt64BE(narrowed, at + 1);
        return;
      }
      value = narrowed;
    }
    if (value >= 0) {
      if (value < 0x80) {
        const at = this.reserve(1);
        this.buffer[at] = value;
      } else if (value < 0x100) {
        const at = this.reserve(2);
        this.buffer[at] = 0xcc;
        this.buffer[at + 1] = value;
      } else if (value < 0x10000) {
        const at = this.reserve(3);
        this.buffer[at] = 0xcd;
        this.buffer[at + 1] = value >>> 8;
        this.buffer[at + 2] = value;
      } else if (value < 0x100000000) {
        const at = this.reserve(5);
        this.buffer[at] = 0xce;
        this.buffer.writeUInt32BE(value, at + 1);
      } else {
        const at = this.reserve(9);
        this.buffer[at] = 0xcf;
        this.buffer.writeUInt32BE(Math.floor(value / 0x100000000), at + 1);
        this.buffer.writeUInt32BE(value % 0x100000000, at + 5);
      }
    } else if (value >= -0x20) {
      const at = this.reserve(1);
      this.buffer[at] = value + 0x100;
    } else if (value >= -0x80) {
      const at = this.reserve(2);
      this.buffer[at] = 0xd0;
      this.buffer.writeInt8(value, at + 1);
    } else if (value >= -0x8000) {
      const at = this.reserve(3);
      this.buffer[at] = 0xd1;
      this.buffer.writeInt16BE(value, at + 1);
    } else if (value >= -0x80000000) {
      const at = this.reserve(5);
      this.buffer[at] = 0xd2;
      this.buffer.writeInt32BE(value, at + 1);
    } else {
      const at = this.reserve(9);
      this.buffer[at] = 0xd3;
      this.buffer.writeBigInt64BE(BigInt(value), at + 1);
    }
  }

  /**
   * Writes a plain value: null, boolean, number, BigInt, string, bytes, array, or plain object. In objects, members
   * that are undefined are left out, as JSON does; in arrays they become null. Typed arrays other than bytes are
   * arrays of numbers, and in messages what they are. What has a `toPlain()` (a Message inside another's data) stands for what that returns.
   * @param {any} value
   * @param {number} depth how many more levels may open
   * @throws {EncodeError}
   */
  value(value, depth) {
    switch (typeof value) {
      case 'string':
        this.string(value);
        return;
      case 'number':
        if (isInteger(value)) this.integer(value);
        else this.float(value);
        return;
      case 'boolean':
        this.boolean(value);
        return;
      case 'bigint':
        this.integer(value);
        return;
      case 'undefined':
        this.nil();
        return;
      case 'object':
        break;
      default:
        if (typeof value.toPlain !== 'function') throw new EncodeError(`a ${typeof value} cannot be sent`);
        this.value(value.toPlain(), depth);
        return;
    }
    if (value === null) {
      this.nil();
    } else if (Array.isArray(value)) {
      if (depth <= 0) throw tooDeep();
      this.arrayHeader(value.length);
      for (let i = 0; i < value.length; i += 1) this.value(value[i], depth - 1);
    } else if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer) {
      this.view(value, depth);
    } else if (typeof value.toPlain === 'function') {
      this.value(value.toPlain(), depth);
    } else {
      this.object(value, depth);
    }
  }

  /** @param {any} value @param {number} depth */
  object(value, depth) {
    const prototype = Object.getPrototypeOf(value);
    if (prototype !== Object.prototype && prototype !== null) {
      if (value instanceof Encoded) {
        this.raw(value.bytes);
        return;
      }
      const name = prototype.constructor?.name || 'object of a class';
      throw new EncodeError(`a ${abbreviate(name)} cannot be sent; make it a plain object, an array or a string`);
    }
    if (depth <= 0) throw tooDeep();
    const keys = Object.keys(value);
    let count = 0;
    for (const key of keys) if (value[key] !== undefined) count += 1;
    this.mapHeader(count);
    for (const key of keys) {
      const member = value[key];
      if (member === undefined) continue;
      this.string(key);
      this.value(member, depth - 1);
    }
  }

  /** @param {any} view @param {number} depth */
  view(view, depth) {
    const bytes = asBytes(view);
    if (bytes !== null) {
      this.binary(bytes);
      return;
    }
    const element = arrays.elementOf(view);
    if (this.origin >= 0 && element !== undefined) {
      arrays.write(this, view);
      return;
    }
    if (depth <= 0) throw tooDeep();
    this.arrayHeader(view.length);
    for (const item of view) {
      if (element === undefined || element.name.startsWith('float')) this.float(item);
      else this.integer(item);
    }
  }
}

/**
 * @param {any} value
 * @returns {Uint8Array | null} the bytes of what JavaScript knows as bytes; null for arrays of numbers
 */
function asBytes(value) {
  if (value instanceof ArrayBuffer) return new Uint8Array(value);
  if (!(value instanceof DataView) && !arrays.isBytes(value)) return null;
  return value instanceof Uint8Array ? value : new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
}

/** @param {number} value whether a plain Number travels as an integer; −0 would lose its sign as one */
function isInteger(value) {
  return Number.isSafeInteger(value) && !Object.is(value, -0);
}

function tooDeep() {
  return new EncodeError('it is nested too deep, or contains itself');
}

/** @param {string} text */
function abbreviate(text) {
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}

module.exports = { Decoder, EncodeError, Encoded, Encoder, MAX_INTEGER, MIN_INTEGER, MalformedError, asBytes, decode, isInteger, narrow, tooDeep };
