'use strict';
/**
 * The forms of messages in binary frames: how bytes become types and values, and where in a frame messages stand.
 *
 * It decides what type a first byte or an extension says (specs/protocol.md §3), and that extensions stand nowhere but
 * where messages do. What a value must be to be of its type is decided in `message.js`; which places those are, by
 * who knows the methods.
 */

const arrays = require('./arrays');
const { Decoder } = require('./codec');
const { MalformedError } = require('./errors');

/** Codes of the extensions that are messages. */
const Code = Object.freeze({ EVENT: 1, ANY: 2, OPTION: 3, ERROR: 4, STREAM: 5, ARRAY: arrays.ARRAY_CODE });

/** @type {(string | undefined)[]} by a message's first byte; none for extensions, and for 0xc1, which begins nothing */
const TYPE_OF_BYTE = new Array(256).fill(undefined);
for (const [first, last, type] of /** @type {[number, number, string][]} */ ([
  [0x00, 0x7f, 'integer'], [0x80, 0x8f, 'object'], [0x90, 0x9f, 'array'], [0xa0, 0xbf, 'string'], [0xc0, 0xc0, 'flow'],
  [0xc2, 0xc3, 'boolean'], [0xc4, 0xc6, 'bytes'], [0xca, 0xcb, 'float'], [0xcc, 0xd3, 'integer'], [0xd9, 0xdb, 'string'],
  [0xdc, 0xdd, 'array'], [0xde, 0xdf, 'object'], [0xe0, 0xff, 'integer'],
])) TYPE_OF_BYTE.fill(type, first, last + 1);

/**
 * A message as it was read. `type` is '' for what is well formed and no message; `value` is then what is wrong with it. The
 * value of an option is null or again a message; that of an error an array.
 * @typedef {{type: string, value: any}} Read
 */

/**
 * Where messages stand in a value: it is one itself; or they stand in members of these names, or in every member, should
 * it be a map; or in every item, or in the second one, should it be an array.
 * @typedef {object} Place
 * @property {boolean} [isMessage]
 * @property {Map<string, Place>} [members]
 * @property {Place} [everyMember]
 * @property {Place} [everyItem]
 * @property {Place} [secondItem]
 */

/** @type {Place} */
const MESSAGE = Object.freeze({ isMessage: true });

class FrameDecoder extends Decoder {
  #isInMessage = false;

  /** @param {Place | undefined} place @returns {any} a value with a `Read` in the place of each message */
  at(place) {
    if (place === undefined) return this.value();
    if (place.isMessage) return this.message();
    const { members, everyMember, everyItem, secondItem } = place;
    return this.valueOf(
      (key) => this.at(members?.get(key) ?? everyMember),
      (index) => this.at(index === 1 ? secondItem ?? everyItem : everyItem),
    );
  }

  /** @returns {Read} */
  message() {
    const type = TYPE_OF_BYTE[this.peek()];
    if (type === undefined) return this.#extended();
    this.#isInMessage = true;
    const value = this.value();
    this.#isInMessage = false;
    return { type, value };
  }

  /** @returns {Read} a message that is an extension */
  #extended() {
    const { code, end } = this.extensionHeader();
    const outer = this.end;
    this.end = end;
    this.#isInMessage = true;
    const read = this.#content(code);
    this.#isInMessage = false;
    this.finish();
    this.end = outer;
    return read;
  }

  /** @param {number} code @returns {Read} */
  #content(code) {
    switch (code) {
      case Code.EVENT: return { type: 'event', value: this.value() };
      case Code.ANY: return { type: 'any', value: this.value() };
      case Code.ERROR: return { type: 'error', value: this.value() };
      case Code.OPTION: return { type: 'option', value: this.pos === this.end ? null : this.#inner() };
      case Code.ARRAY: return { type: 'array', value: this.#array(this.end) };
      case Code.STREAM:
        this.pos = this.end;
        return { type: '', value: 'streams are not carried by this version of the protocol' };
      default: throw new MalformedError(`an extension of unknown type ${code}`);
    }
  }

  /** @returns {Read} the message in an option */
  #inner() {
    this.enter();
    const read = this.message();
    this.depth += 1;
    return read;
  }

  /** @param {number} end */
  #array(end) {
    const start = this.pos;
    this.pos = end;
    return arrays.read(this.bytes, start, end);
  }

  /** @returns {any} an extension inside a value */
  extension() {
    if (!this.#isInMessage) return super.extension();
    const { code, end } = this.extensionHeader();
    if (code !== Code.ARRAY) throw new MalformedError(`an extension of type ${code} inside a value`);
    return this.#array(end);
  }
}

/**
 * Decodes exactly one value, and the messages in it.
 * @param {Uint8Array} bytes
 * @param {number} maxDepth how many arrays and maps may stand inside one another
 * @param {Place} place
 * @returns {any}
 * @throws {MalformedError}
 */
function decodeAt(bytes, maxDepth, place) {
  const decoder = new FrameDecoder(bytes, maxDepth);
  const value = decoder.at(place);
  decoder.finish();
  return value;
}

module.exports = { Code, MESSAGE, decodeAt };
