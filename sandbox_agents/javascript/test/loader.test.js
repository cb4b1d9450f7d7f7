'use strict';
const assert = require('node:assert/strict');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { after, test } = require('node:test');
const { describe } = require('../lib/failure');
const { load } = require('../lib/loader');

const workspace = fs.mkdtempSync(path.join(os.tmpdir(), 'loader-'));
after(() => fs.rmSync(workspace, { recursive: true }));
for (const [name, text] of Object.entries({
  'actors/near.js': "exports.near = 'near';",
  'actors/sdk.js': "exports.Message = require('reflow').Message;",
  'top.js': "exports.top = 'top';",
  'lib/deep.js': "exports.deep = require('../top').top + '-deep';",
  'lib/module.mjs': "export const esm = 'esm';",
})) {
  fs.mkdirSync(path.dirname(path.join(workspace, name)), { recursive: true });
  fs.writeFileSync(path.join(workspace, name), text);
}

const loaded = (source, { name = 'run', config = {}, component = 'Subject', timeout = null } = {}) =>
  load({ source, file: 'actors/subject.actor.js', workspace, name, component, config, timeout });
const failure = (source, options) => {
  try {
    loaded(source, options);
  } catch (error) {
    return { ...describe(error, workspace), code: error.code };
  }
  throw new Error('it loaded');
};

test('a decorated function, as the supervisor transforms it', () => {
  const actor = loaded(`const { actor } = require('reflow');
;__reflow_decorate__(actor({ name: 'Twice', inports: ['a', {name: 'b'}], outports: {c: {type: 'any'}}, awaitAllInports: true }), () => run, "run"); function run(x) { return x * 2; }`);
  assert.equal(actor.call(21), 42);
  assert.deepEqual(actor.declared, { name: 'Twice', inports: ['a', 'b'], outports: ['c'], await_all_inports: true });
});

test('a bare decorator, and a function without any', () => {
  assert.deepEqual(loaded(";__reflow_decorate__(require('reflow').actor, () => run, 'run'); function run() {}").declared, {
    name: 'run', inports: null, outports: null, await_all_inports: false,
  });
  assert.equal(loaded('const run = () => 7;').call(), 7);
  assert.equal(loaded('exports.run = () => 8;').call(), 8);
});

test('module.exports = actor({...}, fn), and the other ways round', () => {
  const head = "const { actor } = require('reflow'); module.exports = ";
  for (const source of [
    `${head}actor({ name: 'A' }, () => 1);`,
    `${head}actor({ name: 'A' })(() => 1);`,
    `${head}{ run: actor({ name: 'A' }, () => 1) };`,
    `${head}actor('A', () => 1);`,
  ]) {
    assert.equal(loaded(source).declared.name, 'A');
    assert.equal(loaded(source, { name: '' }).call(), 1);
  }
});

test('actorMetadata, exported or not', () => {
  assert.deepEqual(loaded("exports.actorMetadata = { component: 'Old', inports: ['x'] }; exports.process = () => 3;", { name: '' }).declared, {
    name: 'Old', inports: ['x'], outports: null, await_all_inports: false,
  });
  const hidden = loaded("const actorMetadata = { name: 'Hidden' }; function main() { return 4; }", { name: '' });
  assert.deepEqual([hidden.declared.name, hidden.call()], ['Hidden', 4]);
});

test('classes, with what the constructor set and what it did not', () => {
  const actor = loaded(
    `;__reflow_decorate__(require('reflow').actor({ name: 'C' }), () => Counter, 'Counter'); class Counter {
      constructor() { this.inports = ['in']; this.outports = ['out']; this.state = { n: 0 }; }
      run(x) { this.state.n += x * this.config.step; return this.state.n; }
    }`,
    { name: 'Counter', config: { step: 10 } },
  );
  assert.deepEqual(actor.declared, { name: 'C', inports: ['in'], outports: ['out'], await_all_inports: false });
  assert.equal(actor.call(1), 10);
  assert.equal(actor.call(2), 30);
  assert.equal(loaded('module.exports = { run() { return 5; } };', { name: '' }).call(), 5);
});

test('two actors in one file stay two', () => {
  const source = `const { actor } = require('reflow');
;__reflow_decorate__(actor({ name: 'A' }), () => first, 'first'); function first() { return 1; }
;__reflow_decorate__(actor({ name: 'B' }), () => second, 'second'); function second() { return 2; }`;
  assert.equal(loaded(source, { name: 'first' }).call(), 1);
  assert.equal(loaded(source, { name: 'second' }).declared.name, 'B');
  assert.equal(loaded(source, { name: '', component: 'B' }).call(), 2);
  assert.match(failure(source, { name: '' }).message, /which function is the actor\? it has first, second/);
});

test('a default export of the transform', () => {
  const source = ";__reflow_decorate__(require('reflow').actor({ name: 'D' }), () => __reflow_default__, 'default'); const __reflow_default__ = () => 6;";
  assert.equal(loaded(source, { name: 'default' }).call(), 6);
});

test('helper modules: beside the file, at the top, and the SDK in them', () => {
  assert.equal(loaded("exports.run = () => require('./near').near;").call(), 'near');
  assert.equal(loaded("exports.run = () => require('../lib/deep').deep;").call(), 'top-deep');
  assert.equal(loaded("exports.run = () => require('lib/deep').deep;").call(), 'top-deep');
  assert.equal(loaded("exports.run = () => require('near').near + require('top').top;").call(), 'neartop');
  assert.equal(loaded("exports.run = () => require('./sdk').Message === require('reflow').Message;").call(), true);
  assert.equal(failure("require('not-there');").message.split('\n')[0], "Cannot find module 'not-there'");
});

test('import() finds ES modules beside the file, and what Node has', async () => {
  const actor = loaded("exports.run = async () => (await import('../lib/module.mjs')).esm + typeof (await import('node:fs')).readFileSync;");
  assert.equal(await actor.call(), 'esmfunction');
});

test('a script has its own scope', () => {
  const actor = loaded('exports.run = function () { return [typeof require, typeof module, __filename, this === globalThis]; };');
  assert.deepEqual(actor.call().slice(0, 3), ['function', 'object', path.join(workspace, 'actors/subject.actor.js')]);
  loaded('var leaked = 1; exports.run = () => 1;');
  assert.equal(globalThis.leaked, undefined);
});

test('errors have the line and column of the script', () => {
  const thrown = failure("const a = 1;\n\n  throw new RangeError('at the top');");
  assert.deepEqual([thrown.type, thrown.file, thrown.line, thrown.column], ['RangeError', 'actors/subject.actor.js', 3, 9]);
  assert.match(thrown.traceback, /actors\/subject\.actor\.js:3:9/);
  assert.doesNotMatch(thrown.traceback, /loader\.js|node:/);
  const syntax = failure('function run() {\n  return 1 +;\n}');
  assert.deepEqual([syntax.type, syntax.line, syntax.column], ['SyntaxError', 2, 13]);
  const open = failure('function run() {\n  return 1;\n');
  assert.equal(open.type, 'SyntaxError');
  assert.doesNotMatch(open.traceback, /expose/);
});

test('what is written for another module system is explained', () => {
  assert.match(failure("import fs from 'fs';").message, /actor scripts are CommonJS modules/);
  assert.match(failure('export function run() {}').message, /module\.exports/);
  assert.match(failure('await 1;').message, /top-level await is not supported/);
  assert.equal(failure("import fs from 'fs';").line, 1);
});

test('an actor that is not there is named', () => {
  assert.match(failure('exports.other = () => 1;').message, /no function or class "run"; it has other/);
  assert.match(failure('const run = 5;').message, /it exports nothing/);
  assert.match(failure('', { name: '' }).message, /which function is the actor/);
  assert.match(failure('exports.a = 1;', { name: 'not a name!' }).message, /"not a name!"/);
});

test('a script that never stops loading is interrupted', () => {
  assert.equal(failure('for (;;) {}', { timeout: 50 }).code, 'ERR_SCRIPT_EXECUTION_TIMEOUT');
  assert.equal(loaded('exports.run = () => 1;', { timeout: 5000 }).call(), 1);
});

test('a byte order mark and a shebang are no part of the script', () => {
  assert.equal(loaded('\ufeff#!/usr/bin/env node\nexports.run = () => 1;').call(), 1);
});
