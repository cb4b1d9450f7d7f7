'use strict';
/**
 * JSON with exact 64-bit integers, and without the values that JSON.stringify silently changes.
 *
 * `parse` gives a BigInt for integers beyond ±(2⁵³−1). `stringify` refuses what JSON has no words for (NaN, bytes,
 * functions, class instances) instead of dropping it.
 */

const { MAX_INTEGER, MIN_INTEGER, narrow } = require('./codec');

const MAX_DEPTH = 64;
const LONG_NUMBER = /\d{16}/;
const STRING = /"(?:[^"\\]|\\.)*"/y;
const NUMBER = /-?\d+(\.\d+)?([eE][+-]?\d+)?/y;
const SPACE = /[ \t\n\r]*/y;

/**
 * @param {string} text
 * @returns {any}
 * @throws {SyntaxError} it is not JSON
 * @throws {RangeError} an integer in it does not fit 64 bits
 */
function parse(text) {
  const value = JSON.parse(text);
  // Only a number this long can have lost digits. Knowing that the text is well formed, reading it again is simple.
  return LONG_NUMBER.test(text) ? new ExactReader(text).value() : value;
}

/** Reads text that is known to be JSON. */
class ExactReader {
  /** @param {string} text */
  constructor(text) {
    this.text = text;
    this.pos = 0;
  }

  /** @param {RegExp} token sticky @returns {RegExpExecArray} */
  match(token) {
    token.lastIndex = this.pos;
    const found = /** @type {RegExpExecArray} */ (token.exec(this.text));
    this.pos = token.lastIndex;
    return found;
  }

  /** @returns {string} the next character that is no space; stays before it */
  peek() {
    this.match(SPACE);
    return this.text[this.pos];
  }

  /** @returns {any} */
  value() {
    switch (this.peek()) {
      case '{': return this.object();
      case '[': return this.array();
      case '"': return JSON.parse(this.match(STRING)[0]);
      case 't': return this.word('true', true);
      case 'f': return this.word('false', false);
      case 'n': return this.word('null', null);
      default: return this.number();
    }
  }

  /** @param {string} word @param {boolean | null} value */
  word(word, value) {
    this.pos += word.length;
    return value;
  }

  number() {
    const [digits, fraction, exponent] = this.match(NUMBER);
    if (fraction !== undefined || exponent !== undefined) return Number(digits);
    const value = BigInt(digits);
    if (value < MIN_INTEGER || value > MAX_INTEGER) throw new RangeError(`the integer ${digits} does not fit 64 bits`);
    return digits === '-0' ? -0 : narrow(value);
  }

  array() {
    const items = [];
    for (this.pos += 1; this.peek() !== ']'; ) {
      items.push(this.value());
      if (this.peek() === ',') this.pos += 1;
    }
    this.pos += 1;
    return items;
  }

  object() {
    const object = {};
    for (this.pos += 1; this.peek() !== '}'; ) {
      const key = JSON.parse(this.match(STRING)[0]);
      this.peek();
      this.pos += 1; // the colon
      const value = this.value();
      // An assignment to `__proto__` would call the setter of Object.prototype.
      Object.defineProperty(object, key, { value, writable: true, enumerable: true, configurable: true });
      if (this.peek() === ',') this.pos += 1;
    }
    this.pos += 1;
    return object;
  }
}

/**
 * @param {any} value members that are undefined are left out of objects, and are null in arrays
 * @param {number} [depth] how many more levels may open
 * @returns {string}
 * @throws {TypeError} what JSON cannot say, or what does not come back as it was
 */
function stringify(value, depth = MAX_DEPTH) {
  switch (typeof value) {
    case 'string': return JSON.stringify(value.toWellFormed?.() ?? value);
    case 'boolean': return value ? 'true' : 'false';
    case 'number': return numberText(value);
    case 'bigint':
      if (value < MIN_INTEGER || value > MAX_INTEGER) throw new TypeError(`the integer ${value} does not fit 64 bits`);
      return String(value);
    case 'object': break;
    default:
      if (typeof value?.toPlain === 'function') return stringify(value.toPlain(), depth);
      throw new TypeError(value === undefined ? 'undefined is no JSON value' : `a ${typeof value} is no JSON value`);
  }
  if (value === null) return 'null';
  if (depth <= 0) throw new TypeError('it is nested too deep, or contains itself');
  if (Array.isArray(value)) {
    return `[${value.map((item) => (item === undefined ? 'null' : stringify(item, depth - 1))).join(',')}]`;
  }
  if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer) {
    throw new TypeError("bytes and typed arrays are no JSON value; use Array.from(…) or toString('base64')");
  }
  if (typeof value.toPlain === 'function') return stringify(value.toPlain(), depth);
  if (typeof value.toJSON === 'function') return stringify(value.toJSON(), depth - 1);
  const prototype = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null) {
    throw new TypeError(`a ${prototype.constructor?.name || 'class instance'} is no JSON value; make it a plain object`);
  }
  const members = [];
  for (const key of Object.keys(value)) {
    if (value[key] !== undefined) members.push(`${JSON.stringify(key)}:${stringify(value[key], depth - 1)}`);
  }
  return `{${members.join(',')}}`;
}

/** @param {number} value */
function numberText(value) {
  if (!Number.isFinite(value)) throw new TypeError(`${value} is no JSON value`);
  if (Object.is(value, -0)) return '-0.0';
  const text = String(value);
  // A whole float beyond the safe range would be read back as an integer of that many digits.
  return Number.isInteger(value) && !Number.isSafeInteger(value) && !text.includes('e') ? `${text}.0` : text;
}

module.exports = { parse, stringify };
