'use strict';
/** Messages as tests write them, `[type, value]`; the value of an option is null or again such a pair. */
const { MESSAGE, decodeAt } = require('../lib/forms');
const { Message } = require('../lib/message');

/** Where an agent's answers and notifications have messages. */
const RESULT = { members: new Map([['outputs', { everyItem: { secondItem: MESSAGE } }]]) };
const PARAMS = { members: new Map([['message', MESSAGE]]) };

/** A pair as it comes out of a decoder. */
function readOf([type, value]) {
  return { type, value: type === 'option' && value !== null ? readOf(value) : value };
}

/** @param {{type: string, value: any}} read */
function pairOf(read) {
  if (read.type === 'option') return ['option', read.value === null ? null : pairOf(read.value)];
  return [read.type, Message.decode(read).unwrap()];
}

/** Params or a result that an agent wrote, with pairs in the place of messages. */
function withPairs(bytes, depth = 64) {
  const body = decodeAt(bytes, depth, { members: new Map([...RESULT.members, ...PARAMS.members]) });
  if ('message' in body) body.message = pairOf(body.message);
  if ('outputs' in body) body.outputs = body.outputs.map(([port, read]) => [port, pairOf(read)]);
  return body;
}

module.exports = { pairOf, readOf, withPairs };
