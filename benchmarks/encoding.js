'use strict';
/** Bytes and times of the JavaScript agent's encoding and of its peers, for shapes that come as JSON on stdin. */
const { readFileSync } = require('node:fs');
const path = require('node:path');
const v8 = require('node:v8');

const LIB = path.join(__dirname, '..', 'sandbox_agents', 'javascript', 'lib');
const { Encoder } = require(path.join(LIB, 'codec'));
const { MESSAGE, decodeAt } = require(path.join(LIB, 'forms'));
const { Message } = require(path.join(LIB, 'message'));

const DEPTH = 64;
const { shapes, large, repetitions, milliseconds } = JSON.parse(readFileSync(0, 'utf8'));
const encoder = new Encoder(64 * 1024);
let sink;

const CODECS = {
  reflow: {
    encode(value) {
      encoder.reset();
      Message.of(value).encode(encoder, DEPTH);
      return encoder.written();
    },
    decode: (bytes) => Message.decode(decodeAt(bytes, DEPTH, MESSAGE)).unwrap(),
  },
  JSON: {
    // Of a typed array JSON.stringify makes an object with a member for each index.
    encode: (value) => Buffer.from(JSON.stringify(ArrayBuffer.isView(value) ? Array.from(value) : value)),
    decode: (bytes) => JSON.parse(bytes.toString()),
  },
  'v8.serialize': { encode: (value) => v8.serialize(value), decode: (bytes) => v8.deserialize(bytes) },
};

/** Nanoseconds that a call takes: the least over the rounds, in each of which it is called as often as fits. */
function timed(call) {
  let least = Infinity;
  let count = 1;
  for (let round = 0; round < 5; ) {
    const start = process.hrtime.bigint();
    for (let i = 0; i < count; i += 1) sink = call();
    const elapsed = Number(process.hrtime.bigint() - start);
    if (elapsed < milliseconds * 1e6 && count < 1e7) {
      count = Math.ceil(count * Math.min(10, Math.max(2, (milliseconds * 1.2e6) / Math.max(elapsed, 1))));
      continue;
    }
    least = Math.min(least, elapsed / count);
    round += 1;
  }
  return least;
}

const found = [];
for (const [shape, plain] of Object.entries(shapes)) {
  const value = shape === large ? Float64Array.from(plain) : plain;
  for (const [codec, { encode, decode }] of Object.entries(CODECS)) {
    // As if it had come alone in a buffer.
    const bytes = Buffer.from(Uint8Array.prototype.slice.call(encode(value)).buffer);
    found.push({ shape, codec, bytes: bytes.length, encode: [], decode: [], calls: [() => encode(value), () => decode(bytes)] });
  }
}
for (let i = 0; i < repetitions; i += 1) {
  for (const { encode, decode, calls } of found) {
    encode.push(timed(calls[0]));
    decode.push(timed(calls[1]));
  }
}
process.stdout.write(JSON.stringify(found), () => process.exit(sink === found ? 1 : 0));
