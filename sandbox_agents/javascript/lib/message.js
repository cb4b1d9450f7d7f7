'use strict';
/**
 * Messages: what flows between actors, as scripts make and see them.
 *
 * It decides which types there are, what each may hold, and which form it has on the wire. How values become bytes is
 * decided in `codec.js` and `arrays.js`, how bytes become messages in `forms.js`; where a message goes, in `outputs.js`.
 */

const arrays = require('./arrays');
const { EncodeError, MAX_INTEGER, MIN_INTEGER, asBytes, isInteger, tooDeep } = require('./codec');
const { Code } = require('./forms');

/** What came from the other side is not a message. */
class MalformedMessageError extends Error {}

/**
 * A typed value on a port. Immutable; made by its static constructors, or from a plain value by `Message.of`.
 *
 * In arithmetic, comparisons and text a message stands for its value, so `buffer.length > payload.get('window')`
 * reads as it looks. Strings, arrays and bytes also have `length` and can be iterated.
 */
class Message {
  #data;

  /**
   * @param {string} type
   * @param {any} data
   */
  constructor(type, data) {
    if (!TYPES.has(type)) throw new TypeError(`${JSON.stringify(type)} is no message type`);
    /** @readonly @type {string} */
    this.type = type;
    this.#data = TYPES.get(type).accept(data);
  }

  /** A bare trigger. */
  static flow() {
    return new Message('flow', null);
  }

  /** @param {any} value */
  static event(value) {
    return new Message('event', value);
  }

  /** @param {boolean} value */
  static boolean(value) {
    return new Message('boolean', value);
  }

  /** @param {number | bigint} value exact; a BigInt beyond ±(2⁵³−1) */
  static integer(value) {
    return new Message('integer', value);
  }

  /** @param {number} value stays a float, also when it is whole */
  static float(value) {
    return new Message('float', value);
  }

  /** @param {string} value */
  static string(value) {
    return new Message('string', value);
  }

  /** @param {Uint8Array | ArrayBuffer | DataView} value */
  static bytes(value) {
    return new Message('bytes', value);
  }

  /** Another name of `bytes`. @param {Uint8Array | ArrayBuffer | DataView} value */
  static binary(value) {
    return new Message('bytes', value);
  }

  /** Reflow's name of `bytes`. @param {Uint8Array | ArrayBuffer | DataView} value */
  static encoded(value) {
    return new Message('bytes', value);
  }

  /** @param {object} value */
  static object(value) {
    return new Message('object', value);
  }

  /** @param {Iterable<any>} value a typed array, bytes too, travels as it lies in memory and arrives as one; its `shape`, if set, too */
  static array(value) {
    return new Message('array', value);
  }

  /** @param {any} value */
  static any(value) {
    return new Message('any', value);
  }

  /** @param {any} [value] a message or a plain value; null and undefined make the empty option */
  static option(value) {
    return new Message('option', value);
  }

  /**
   * @param {string | Error | {message: string, code?: string | number, data?: any}} error
   * @param {string | number} [code]
   * @param {any} [data]
   */
  static error(error, code, data) {
    const value = typeof error === 'string' ? { message: error } : error;
    const extra = {};
    if (code !== undefined && code !== null) extra.code = code;
    if (data !== undefined && data !== null) extra.data = data;
    return new Message('error', { ...acceptError(value), ...extra });
  }

  /** Streams need a later version of the protocol. */
  static stream() {
    return new Message('stream', null);
  }

  /**
   * The message that a plain value makes by its own type.
   * @param {any} value
   * @returns {Message}
   */
  static of(value) {
    if (value instanceof Message) return value;
    switch (typeof value) {
      case 'boolean': return new Message('boolean', value);
      case 'bigint': return new Message('integer', value);
      case 'number': return new Message(isInteger(value) ? 'integer' : 'float', value);
      case 'string': return new Message('string', value);
      case 'undefined': return new Message('option', null);
      case 'object':
        if (value === null) return new Message('option', null);
        if (value instanceof Error) return new Message('error', value);
        if (asBytes(value) !== null) return new Message('bytes', value);
        if (Array.isArray(value) || ArrayBuffer.isView(value)) return new Message('array', value);
        return new Message('object', value);
      default:
        if (typeof value.toPlain === 'function') return Message.of(value.toPlain());
        throw new EncodeError(`a ${typeof value} cannot be sent`);
    }
  }

  /** @returns {any} the plain value: null for flow and the empty option, `{message, code, data}` for an error */
  unwrap() {
    const data = this.#data;
    return this.type === 'option' && data !== null ? data.unwrap() : data;
  }

  /** @returns {boolean} */
  isError() {
    return this.type === 'error';
  }

  /** Of an error, what came with it; of anything else what `unwrap()` gives, which older scripts read. */
  get data() {
    return this.type === 'error' ? this.#data.data : this.unwrap();
  }

  /** @returns {string | undefined} of an error */
  get message() {
    return this.type === 'error' ? this.#data.message : undefined;
  }

  /** @returns {string | number | undefined} of an error */
  get code() {
    return this.type === 'error' ? this.#data.code : undefined;
  }

  /** @returns {number | undefined} of a string, an array, or bytes */
  get length() {
    return this.unwrap()?.length;
  }

  /** Over what a string, an array, or bytes hold. */
  [Symbol.iterator]() {
    const value = this.unwrap();
    if (typeof value?.[Symbol.iterator] !== 'function') {
      throw new TypeError(`a message of type ${this.type} cannot be iterated; use unwrap()`);
    }
    return value[Symbol.iterator]();
  }

  valueOf() {
    return this.unwrap();
  }

  toJSON() {
    const value = this.unwrap();
    return isNumbers(value) ? arrays.toArrays(value) : value;
  }

  /** What stands for this message inside another's value. */
  toPlain() {
    return this.unwrap();
  }

  toString() {
    const value = this.unwrap();
    if (typeof value !== 'object' || value === null || asBytes(value) !== null) return String(value);
    return JSON.stringify(value, (_, member) => {
      if (typeof member === 'bigint') return String(member);
      return isNumbers(member) ? arrays.toArrays(member) : member;
    });
  }

  /** @param {'default' | 'number' | 'string'} hint */
  [Symbol.toPrimitive](hint) {
    const value = this.unwrap();
    if (typeof value !== 'object' || value === null) return value;
    return hint === 'number' ? Number(value) : this.toString();
  }

  [Symbol.for('nodejs.util.inspect.custom')](_, options, inspect) {
    return `Message.${this.type}(${inspect(this.#data, options)})`;
  }

  /**
   * @param {import('./codec').Encoder} encoder
   * @param {number} depth how many levels may open in its value
   * @throws {EncodeError}
   */
  encode(encoder, depth) {
    const isOuter = encoder.origin < 0;
    if (isOuter) encoder.origin = encoder.pos;
    try {
      TYPES.get(this.type).write(encoder, this.#data, depth);
    } finally {
      if (isOuter) encoder.origin = -1;
    }
  }

  /**
   * @param {import('./forms').Read} read
   * @returns {Message}
   * @throws {MalformedMessageError} what was read is no message
   */
  static decode({ type, value }) {
    if (type === '') throw new MalformedMessageError(value);
    if (type === 'error') return new Message(type, arrivedError(value));
    return new Message(type, type === 'option' && value !== null ? Message.decode(value) : value);
  }
}

/** @param {any} value @returns {{message: string, code: any, data: any}} @throws {MalformedMessageError} */
function arrivedError(value) {
  const [message, code = null, data] = Array.isArray(value) ? value : [];
  if (typeof message !== 'string' || (code !== null && !isErrorCode(code))) {
    throw new MalformedMessageError('an error has a message (a string), and may have a code (a string or an integer) and data');
  }
  return { message, code, data };
}

/** @param {any} value whether it is a typed array of numbers, and not bytes */
function isNumbers(value) {
  return arrays.elementOf(value) !== undefined && !arrays.isBytes(value);
}

/** @param {any} value @returns {string} what it is, for people */
function nameOf(value) {
  if (value === null) return 'null';
  if (typeof value !== 'object') return `a ${typeof value}`;
  return Array.isArray(value) ? 'an array' : `a ${value.constructor?.name || 'object'}`;
}

/** @param {string} wanted @param {any} value */
function wrong(wanted, value) {
  return new EncodeError(`${wanted} is needed, not ${nameOf(value)}`);
}

/** @param {any} value */
function acceptInteger(value) {
  if (typeof value === 'bigint') {
    if (value < MIN_INTEGER || value > MAX_INTEGER) throw new EncodeError(`the integer ${value} does not fit 64 bits`);
    return value;
  }
  if (typeof value !== 'number') throw wrong('a whole number', value);
  if (!Number.isInteger(value)) throw new EncodeError(`${value} is no integer; use Message.float`);
  if (!Number.isSafeInteger(value)) {
    throw new EncodeError(`${value} is beyond what a Number holds exactly; use a BigInt, or Message.float`);
  }
  return value;
}

/** @param {any} value */
function acceptError(value) {
  if (value instanceof Error) {
    const code = /** @type {any} */ (value).code;
    return withoutNothing({ message: `${value.name}: ${value.message}`, code: isErrorCode(code) ? code : null });
  }
  if (typeof value !== 'object' || value === null || typeof value.message !== 'string') {
    throw new EncodeError('an error needs a message: a string, an Error, or an object with "message"');
  }
  const { message, data } = value;
  const code = typeof value.code?.toPlain === 'function' ? value.code.toPlain() : value.code ?? null;
  if (code !== null && !isErrorCode(code)) throw new EncodeError(`code: a string or an integer is needed, not ${nameOf(code)}`);
  return withoutNothing({ message, code, data });
}

/** @param {any} code */
function isErrorCode(code) {
  return typeof code === 'string' || typeof code === 'bigint' || isInteger(code);
}

/** @param {Record<string, any>} object without the members that are null or undefined */
function withoutNothing(object) {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined && value !== null));
}

/** @param {any} value */
function acceptArray(value) {
  if (Array.isArray(value) || (ArrayBuffer.isView(value) && !(value instanceof DataView))) return value;
  if (typeof value === 'object' && typeof value?.[Symbol.iterator] === 'function') return [...value];
  throw wrong('an array', value);
}

/** @param {any} value */
function acceptObject(value) {
  if (value instanceof Map) return Object.fromEntries(value);
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw wrong('an object', value);
  return value;
}

/** @param {import('./codec').Encoder} encoder @param {any} data @param {number} depth */
function writePlain(encoder, data, depth) {
  encoder.value(data, depth);
}

/** What each type takes, and how its value is written. */
const TYPES = new Map(
  Object.entries({
    flow: {
      accept(value) {
        if (value !== null) throw wrong('null', value);
        return null;
      },
      write: writePlain,
    },
    event: {
      accept: (value) => value,
      write: (encoder, data, depth) => encoder.extension(Code.EVENT, () => encoder.value(data, depth)),
    },
    any: {
      accept: (value) => value,
      write: (encoder, data, depth) => encoder.extension(Code.ANY, () => encoder.value(data, depth)),
    },
    boolean: {
      accept(value) {
        if (typeof value !== 'boolean') throw wrong('true or false', value);
        return value;
      },
      write: writePlain,
    },
    integer: { accept: acceptInteger, write: (encoder, data) => encoder.integer(data) },
    float: {
      accept(value) {
        if (typeof value !== 'number') throw wrong('a number', value);
        return value;
      },
      write: (encoder, data) => encoder.float(data),
    },
    string: {
      accept(value) {
        if (typeof value !== 'string') throw wrong('a string', value);
        return value;
      },
      write: (encoder, data) => encoder.string(data),
    },
    bytes: {
      accept(value) {
        const bytes = asBytes(value);
        if (bytes === null) throw wrong('a Buffer or a Uint8Array', value);
        return bytes;
      },
      write: (encoder, data) => encoder.binary(data),
    },
    object: { accept: acceptObject, write: writePlain },
    array: { accept: acceptArray, write: writeArray },
    option: {
      accept: (value) => (value === null || value === undefined ? null : Message.of(value)),
      write(encoder, data, depth) {
        encoder.extension(Code.OPTION, () => {
          if (data === null) return;
          if (depth <= 0) throw tooDeep();
          data.encode(encoder, depth - 1);
        });
      },
    },
    error: {
      accept: acceptError,
      write(encoder, { message, code = null, data = null }, depth) {
        const items = data !== null ? [message, code, data] : code !== null ? [message, code] : [message];
        encoder.extension(Code.ERROR, () => encoder.value(items, depth));
      },
    },
    stream: {
      accept() {
        throw new EncodeError('streams are not carried by this version of the protocol; send the parts with context.send');
      },
      write: writePlain,
    },
  }),
);

/** An array message holds numbers also where its value is bytes. @param {any} encoder @param {any} data @param {number} depth */
function writeArray(encoder, data, depth) {
  if (arrays.elementOf(data) === undefined) encoder.value(data, depth);
  else arrays.write(encoder, data);
}

module.exports = { MalformedMessageError, Message, nameOf };
