'use strict';
/**
 * `ActorState`: an actor's own state, kept here and written by the supervisor with each commit.
 *
 * The actor is the only writer of its keys, so every operation is local and synchronous; what is not known yet is
 * fetched once. `StateTable` holds what is known and journals the changes of one activation: `operations` gives what
 * they amount to (specs/protocol.md §6), `commit` makes them final, `rollback` undoes them. `ActorState` is what a
 * script sees of it, for one activation. Values are copied by going in and coming out as JSON, so an array that came
 * from `get` may be changed freely, and is saved only by `set`.
 *
 * No I/O: what fetches, and the clock, are passed in.
 */

const json = require('./json');
const { MAX_INTEGER, MIN_INTEGER, narrow } = require('./codec');
const { globMatcher } = require('./glob');
const { placeOf } = require('./place');

const MAX_KEY_BYTES = 512;
const MAX_SECONDS = 1e9;
const COMPACT_OVER = 1024;
const CONTROL = /[\u0000-\u001f\u007f-\u009f]/;

/** A key that holds one JSON document. Entries are never changed, only replaced: that makes undoing simple. */
class Value {
  /** @param {string} text JSON @param {number | null} expires on the clock, in milliseconds */
  constructor(text, expires) {
    this.text = text;
    this.expires = expires;
  }

  /** @param {number | null} expires */
  expiring(expires) {
    return new Value(this.text, expires);
  }

  read() {
    return json.parse(this.text);
  }
}

/**
 * A key that holds a native list: a window on an array of JSON documents. Entries that follow one another share the
 * array, so that neither a push nor a pop costs by the list's length.
 */
class List {
  /** @param {string[]} items @param {number} left @param {number} right @param {number | null} expires */
  constructor(items, left, right, expires) {
    this.items = items;
    this.left = left;
    this.right = right;
    this.expires = expires;
  }

  get length() {
    return this.right - this.left;
  }

  /** @param {number | null} expires */
  expiring(expires) {
    return new List(this.items, this.left, this.right, expires);
  }

  texts() {
    return this.items.slice(this.left, this.right);
  }

  read() {
    return this.texts().map(json.parse);
  }
}

/** @typedef {Value | List} Entry */

/** What an activation did to one key. */
class Change {
  /** @param {Entry | null | undefined} before null: it did not exist; undefined: that is not known */
  constructor(before) {
    this.before = before;
    /** Whether anything but its time to live was changed. */
    this.written = false;
    /** What the last write said, in milliseconds; null: the configured one. @type {number | null} */
    this.ttl = null;
    /** What `expire` said after the last write. @type {{ttl: number | null} | null} */
    this.expire = null;
    /** The end of the array as it was before, where newer items took its place. @type {string[]} */
    this.overwritten = [];
  }

  /** How far the array still holds what it held before. @param {List} before */
  intact(before) {
    return before.right - this.overwritten.length;
  }
}

/** What is known of an actor's state, and what the current activation changed of it. */
class StateTable {
  /** @type {Map<string, Entry | null>} null: known not to exist */
  #entries = new Map();
  /** @type {Map<string, Change>} */
  #changes = new Map();
  #fetch;
  #fetchKeys;
  #ttl;
  #now;

  /**
   * @param {object} options
   * @param {(keys: string[]) => Record<string, any[]>} options.fetch as `state.fetch` of the protocol answers
   * @param {(pattern: string) => string[]} options.fetchKeys as `state.keys` answers
   * @param {number | null} [options.ttl] the configured time to live of what is written, in milliseconds
   * @param {() => number} [options.now] monotonic milliseconds
   */
  constructor({ fetch, fetchKeys, ttl = null, now = () => performance.now() }) {
    this.#fetch = fetch;
    this.#fetchKeys = fetchKeys;
    this.#ttl = ttl;
    this.#now = now;
  }

  // -- reading --------------------------------------------------------------------------------------------------

  /** @param {string} key @returns {Entry | null} */
  entry(key) {
    let entry = this.#entries.get(key);
    if (entry === undefined) {
      checkKey(key);
      const fetched = this.#fetch([key]);
      entry = Object.hasOwn(fetched, key) ? this.#stored(fetched[key]) : null;
      this.#entries.set(key, entry);
    }
    if (entry !== null && entry.expires !== null && entry.expires <= this.#now()) {
      // No change of this activation: the store lets it expire by itself.
      entry = null;
      this.#entries.set(key, entry);
    }
    return entry;
  }

  /** @param {any[]} stored @returns {Entry} */
  #stored([kind, content, ttl]) {
    const expires = this.#expiry(ttl ?? null);
    return kind === 'list' ? new List([...content], 0, content.length, expires) : new Value(content, expires);
  }

  /** @param {string} pattern @returns {string[]} the keys that match, sorted */
  keys(pattern) {
    checkKey(pattern);
    const matches = globMatcher(pattern);
    const keys = new Set(this.#fetchKeys(pattern));
    for (const key of [...this.#entries.keys()]) {
      if (!matches(key)) continue;
      // What is known here is newer than what the store says: commits may be on their way.
      if (this.entry(key) === null) keys.delete(key);
      else keys.add(key);
    }
    return [...keys].sort();
  }

  /** @param {Entry} entry @returns {number | null} milliseconds */
  timeLeft(entry) {
    return entry.expires === null ? null : entry.expires - this.#now();
  }

  // -- writing --------------------------------------------------------------------------------------------------

  /** @param {string} key @param {string} text JSON @param {number | null} ttl */
  set(key, text, ttl) {
    this.#write(key, new Value(text, this.#expiry(ttl ?? this.#ttl)), ttl);
  }

  /** Makes the key a list of exactly these. @param {string} key @param {string[]} texts at least one @param {number | null} ttl */
  setList(key, texts, ttl) {
    this.#write(key, new List(texts, 0, texts.length, this.#expiry(ttl ?? this.#ttl)), ttl);
  }

  /**
   * What a write says that replaces a value by what has become of it: like a list's, its time to live goes on where none
   * is configured.
   * @param {Entry | null} entry
   * @returns {number | null} milliseconds
   */
  kept(entry) {
    const left = entry === null || this.#ttl !== null ? null : this.timeLeft(entry);
    return left === null ? null : Math.max(Math.ceil(left), 1);
  }

  /** @param {string} key one that is a list @param {List} list @param {string[]} texts */
  append(key, list, texts) {
    const change = this.#change(key);
    const { before } = change;
    const { items, left, right } = list;
    if (before instanceof List && before.items === items && right < change.intact(before)) {
      change.overwritten = items.slice(right, change.intact(before)).concat(change.overwritten);
    }
    items.length = right;
    for (const text of texts) items.push(text);
    this.#rewrite(key, new List(items, left, items.length, this.#renewed(list)));
  }

  /** @param {string} key @param {List} list what it is @param {number} left @param {number} right how many to take off each end */
  trim(key, list, left, right) {
    const rest = new List(list.items, list.left + left, list.right - right, this.#renewed(list));
    if (rest.length === 0) this.#write(key, null, null);
    else this.#rewrite(key, rest);
  }

  /** @param {string} key */
  remove(key) {
    this.#write(key, null, null);
  }

  /** @param {string} key @param {Entry} entry what it is @param {number | null} ttl */
  expire(key, entry, ttl) {
    this.#change(key).expire = { ttl };
    this.#entries.set(key, entry.expiring(this.#expiry(ttl)));
  }

  /** @param {string} key @param {Entry | null} entry @param {number | null} ttl */
  #write(key, entry, ttl) {
    const change = this.#change(key);
    change.written = true;
    change.ttl = ttl;
    // A write sets the time to live anew.
    change.expire = null;
    this.#entries.set(key, entry);
  }

  /** A list is changed in place, which leaves its time to live where none is configured. @param {string} key @param {List} list */
  #rewrite(key, list) {
    if (this.#ttl !== null) {
      this.#write(key, list, null);
      return;
    }
    this.#change(key).written = true;
    this.#entries.set(key, list);
  }

  /** @param {string} key @returns {Change} */
  #change(key) {
    let change = this.#changes.get(key);
    if (change === undefined) {
      checkKey(key);
      change = new Change(this.#entries.get(key));
      this.#changes.set(key, change);
    }
    return change;
  }

  /** @param {number | null} ttl */
  #expiry(ttl) {
    return ttl === null ? null : this.#now() + Number(ttl);
  }

  /** @param {List} list */
  #renewed(list) {
    return this.#ttl === null ? list.expires : this.#expiry(this.#ttl);
  }

  // -- one activation -------------------------------------------------------------------------------------------

  /** @returns {any[][]} what the changes amount to; they stand until `commit` or `rollback` */
  operations() {
    const operations = [];
    for (const [key, change] of this.#changes) {
      const entry = this.#entries.get(key) ?? null;
      if (entry === null) {
        if (change.before !== null) operations.push(['delete', key]);
        continue;
      }
      if (change.written) operations.push(...writes(key, change, entry));
      if (change.expire !== null) operations.push(['expire', key, change.expire.ttl]);
    }
    return operations;
  }

  /** The changes are final. */
  commit() {
    if (this.#changes.size === 0) return;
    for (const key of this.#changes.keys()) {
      const entry = this.#entries.get(key);
      // What was popped off the front is still in the array.
      if (entry instanceof List && entry.left > COMPACT_OVER && entry.left > entry.length) {
        this.#entries.set(key, new List(entry.texts(), 0, entry.length, entry.expires));
      }
    }
    this.#changes.clear();
  }

  /** Undoes the changes since the last commit. */
  rollback() {
    for (const [key, change] of this.#changes) {
      const { before } = change;
      if (before === undefined) {
        this.#entries.delete(key);
        continue;
      }
      if (before instanceof List) {
        before.items.length = change.intact(before);
        for (const text of change.overwritten) before.items.push(text);
      }
      this.#entries.set(key, before);
    }
    this.#changes.clear();
  }
}

/** @param {string} key @param {Change} change @param {Entry} entry what it is now @returns {any[][]} */
function writes(key, change, entry) {
  const { before, ttl } = change;
  if (entry instanceof Value) return [['set', key, entry.text, ttl]];
  if (!(before instanceof List) || before.items !== entry.items) return [['list', key, entry.texts(), ttl]];
  const operations = [];
  const kept = Math.min(entry.right, change.intact(before));
  const left = Math.min(entry.left, kept) - before.left;
  const right = before.right - kept;
  const added = entry.items.slice(Math.max(entry.left, kept), entry.right);
  if (left > 0 || right > 0) operations.push(['trim', key, left, right]);
  if (added.length > 0) operations.push(['append', key, added, ttl]);
  return operations;
}

/** The state of an actor, as a script sees it during one activation. */
class ActorState {
  /** @type {StateTable | null} */
  #table;

  /** @param {StateTable} table */
  constructor(table) {
    this.#table = table;
  }

  /** The activation is over: what still runs of it must not reach into the next. */
  close() {
    this.#table = null;
  }

  get #open() {
    if (this.#table === null) {
      throw new Error('this activation is over: its state can no longer be used (was something not awaited?)');
    }
    return this.#table;
  }

  /**
   * @param {string} key
   * @param {any} [fallback] given back where there is no such key
   * @returns {any} a fresh copy of the value; changing it is saved by `set` only
   */
  get(key, fallback) {
    const entry = this.#open.entry(key);
    return entry === null ? fallback : entry.read();
  }

  /** @param {string} key @returns {boolean} */
  exists(key) {
    return this.#open.entry(key) !== null;
  }

  /** @param {string} [pattern] a glob as in Redis: `*`, `?`, `[a-z]` @returns {string[]} sorted */
  keys(pattern = '*') {
    return this.#open.keys(pattern);
  }

  /** @param {string} key @returns {number} whole seconds, rounded up; -1 when it stays, -2 when there is no such key */
  ttl(key) {
    const table = this.#open;
    const entry = table.entry(key);
    if (entry === null) return -2;
    const left = table.timeLeft(entry);
    return left === null ? -1 : Math.max(Math.ceil(left / 1000), 0);
  }

  /** @param {string} key @param {any} value what JSON can hold @param {number} [ttl] seconds */
  set(key, value, ttl) {
    this.#open.set(key, textOf(key, value), milliseconds(ttl));
  }

  /** @param {string} key @returns {boolean} whether there was one */
  delete(key) {
    const table = this.#open;
    if (table.entry(key) === null) return false;
    table.remove(key);
    return true;
  }

  /**
   * Adds to a whole number; a key that does not exist counts as 0.
   * @param {string} key
   * @param {number | bigint} [amount]
   * @returns {number | bigint} the new one; a BigInt beyond ±(2⁵³−1)
   */
  increment(key, amount = 1) {
    const table = this.#open;
    const entry = table.entry(key);
    const step = wholeNumber(amount);
    if (step === null) throw new TypeError(`state ${quoted(key)}: increment takes a whole number; use get and set`);
    const number = entry === null ? 0n : wholeNumber(entry.read());
    if (number === null) throw new TypeError(`state ${quoted(key)} holds ${described(entry)}, not a whole number`);
    const sum = number + step;
    if (sum < MIN_INTEGER || sum > MAX_INTEGER) throw new RangeError(`state ${quoted(key)}: ${sum} does not fit 64 bits`);
    table.set(key, String(sum), table.kept(entry));
    return narrow(sum);
  }

  /** @param {string} key @param {number | bigint} [amount] @returns {number | bigint} */
  decrement(key, amount = 1) {
    const step = wholeNumber(amount);
    if (step === null) throw new TypeError(`state ${quoted(key)}: decrement takes a whole number; use get and set`);
    return this.increment(key, -step);
  }

  /** Adds to the end of a list. @param {string} key @param {...any} values @returns {number} its new length */
  push(key, ...values) {
    return this.extend(key, values);
  }

  /** Adds all of them to the end of a list. @param {string} key @param {Iterable<any>} values @returns {number} its new length */
  extend(key, values) {
    const table = this.#open;
    const entry = table.entry(key);
    const texts = Array.from(values, (value) => textOf(key, value));
    if (entry instanceof List) {
      if (texts.length > 0) table.append(key, entry, texts);
      return entry.length + texts.length;
    }
    const all = itemTexts(key, entry).concat(texts);
    if (texts.length > 0) table.setList(key, all, table.kept(entry));
    return all.length;
  }

  /**
   * Takes the last item off a list.
   * @param {string} key
   * @param {any} [fallback] given back where there is none
   * @param {{left?: boolean}} [options] left: the first item
   */
  pop(key, fallback, { left = false } = {}) {
    const table = this.#open;
    let entry = table.entry(key);
    if (!(entry instanceof List)) {
      const texts = itemTexts(key, entry);
      if (texts.length === 0) return fallback;
      table.setList(key, texts, table.kept(entry));
      entry = /** @type {List} */ (table.entry(key));
    }
    const text = entry.items[left ? entry.left : entry.right - 1];
    table.trim(key, entry, left ? 1 : 0, left ? 0 : 1);
    return json.parse(text);
  }

  /** @param {string} key @param {number | null} seconds null makes it stay @returns {boolean} whether there is such a key */
  expire(key, seconds) {
    const table = this.#open;
    const ttl = milliseconds(seconds);
    const entry = table.entry(key);
    if (entry === null) return false;
    table.expire(key, entry, ttl);
    return true;
  }
}

/** The items of a key that is no native list: none, or those of the array that `set` put there. @param {string} key @param {Value | null} entry */
function itemTexts(key, entry) {
  if (entry === null) return [];
  const value = entry.read();
  if (!Array.isArray(value)) throw new TypeError(`state ${quoted(key)} holds ${described(entry)}, not a list`);
  return value.map((item) => json.stringify(item));
}

/** @param {string} key @param {any} value */
function textOf(key, value) {
  try {
    return json.stringify(value);
  } catch (error) {
    throw new TypeError(`state ${quoted(key)}${placeOf(value, error.message, complaintAbout)}: ${error.message}`);
  }
}

/** @param {any} value @returns {string | null} */
function complaintAbout(value) {
  try {
    json.stringify(value);
    return null;
  } catch (error) {
    return error.message;
  }
}

/** @param {any} value @returns {bigint | null} */
function wholeNumber(value) {
  const plain = typeof value?.toPlain === 'function' ? value.toPlain() : value;
  if (typeof plain === 'bigint') return plain;
  return Number.isSafeInteger(plain) ? BigInt(plain) : null;
}

/** @param {number | null | undefined} seconds @returns {number | null} */
function milliseconds(seconds) {
  if (seconds === undefined || seconds === null) return null;
  if (typeof seconds !== 'number' || !(seconds > 0 && seconds < MAX_SECONDS)) {
    throw new TypeError(`a time to live is more than 0 seconds, not ${String(seconds)}`);
  }
  return Math.max(Math.round(seconds * 1000), 1);
}

/** @param {string} key */
function checkKey(key) {
  if (typeof key !== 'string') throw new TypeError(`a state key is a string, not ${key === null ? 'null' : typeof key}`);
  const size = Buffer.byteLength(key);
  if (size < 1 || size > MAX_KEY_BYTES) {
    throw new RangeError(`state key ${quoted(key)} has ${size} bytes; 1 to ${MAX_KEY_BYTES} are allowed`);
  }
  if (CONTROL.test(key)) throw new RangeError(`state key ${quoted(key)} holds a control character`);
  if (!key.isWellFormed()) throw new RangeError(`state key ${quoted(key)} holds half of a surrogate pair`);
}

/** @param {string} key */
function quoted(key) {
  return JSON.stringify(String(key).slice(0, 40));
}

/** @param {Entry | null} entry */
function described(entry) {
  if (entry instanceof List) return 'a list';
  const value = entry?.read();
  if (value === null) return 'null';
  return Array.isArray(value) ? 'an array' : `a ${typeof value}`;
}

module.exports = { ActorState, StateTable };
