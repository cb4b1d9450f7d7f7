'use strict';
/**
 * What went wrong in a script, as data: type, message, traceback, place.
 *
 * It decides which stack frames a script's author sees: those of the script and of the files beside it, by their
 * path in the workspace, and none of the agent's or of Node's. It reads whatever a script throws, so nothing that
 * it touches is trusted to behave.
 */

const path = require('node:path');

const MAX_TRACEBACK = 16 * 1024;
const MAX_MESSAGE = 4 * 1024;
const MAX_TYPE = 200;
const MAX_CAUSES = 5;
const AGENT = path.dirname(__dirname) + path.sep;
const FRAME = /^\s+at .*?\(?(?<file>[^()\s][^()]*?):(?<line>\d+):(?<column>\d+)\)?$/;
const SYNTAX_PLACE = /^(?<file>[^\n]+?):(?<line>\d+)\n(?:[^\n]*\n(?<indent> *)\^)?/;

/**
 * @typedef {object} Failure
 * @property {string} type
 * @property {string} message
 * @property {string} traceback
 * @property {string} [file]
 * @property {number} [line]
 * @property {number} [column]
 */

/**
 * @param {unknown} error whatever was thrown
 * @param {string} workspace the directory whose files are the script's own
 * @returns {Failure}
 */
function describe(error, workspace) {
  try {
    return describeAny(error, workspace);
  } catch {
    // A getter or a toString of the thrown object threw in turn.
    return { type: 'Error', message: 'the script threw something that cannot be read', traceback: '' };
  }
}

/** @param {any} error @param {string} workspace @returns {Failure} */
function describeAny(error, workspace) {
  if (!isErrorLike(error)) {
    const message = clip(`${typeof error === 'object' ? safeJson(error) : String(error)}`, MAX_MESSAGE);
    return { type: typeof error, message: `the script threw ${message}, which is no Error`, traceback: '' };
  }
  const type = clip(String(error.name || error.constructor?.name || 'Error'), MAX_TYPE);
  const message = clip(String(error.message ?? '').replaceAll(workspace + path.sep, ''), MAX_MESSAGE);
  /** @type {Failure} */
  const failure = { type, message, traceback: clip(tracebackOf(error, workspace), MAX_TRACEBACK) };
  const place = placeOf(error, workspace);
  return place ? { ...failure, ...place } : failure;
}

/** @param {any} error */
function isErrorLike(error) {
  return error instanceof Error || (typeof error === 'object' && error !== null && typeof error.stack === 'string');
}

/** @param {any} value */
function safeJson(value) {
  try {
    return JSON.stringify(value) ?? String(value);
  } catch {
    return String(value);
  }
}

/** @param {any} error @param {string} workspace */
function tracebackOf(error, workspace) {
  const parts = [];
  for (let cause = error; isErrorLike(cause) && parts.length < MAX_CAUSES; cause = cause.cause) {
    const syntax = cause instanceof SyntaxError ? SYNTAX_PLACE.exec(stackOf(cause)) : null;
    const lines = [`${cause.name}: ${cause.message}`.replaceAll(workspace + path.sep, '')];
    if (syntax) lines.push(`    at ${shown(syntax.groups.file, workspace)}:${syntax.groups.line}`);
    for (const frame of framesOf(cause, workspace)) lines.push(frame.text);
    parts.push(lines.join('\n'));
  }
  return parts.join('\ncaused by ');
}

/** @param {any} error @param {string} workspace */
function placeOf(error, workspace) {
  if (error instanceof SyntaxError) {
    const found = SYNTAX_PLACE.exec(stackOf(error));
    if (found) {
      const { file, line, indent } = found.groups;
      const place = { file: shown(file, workspace), line: Number(line) };
      return indent === undefined ? place : { ...place, column: indent.length + 1 };
    }
  }
  const [frame] = framesOf(error, workspace);
  return frame && { file: frame.file, line: frame.line, column: frame.column };
}

/** @param {any} error */
function stackOf(error) {
  return typeof error.stack === 'string' ? error.stack.slice(0, 256 * 1024) : '';
}

/** The frames of the script's own files, innermost first. @param {any} error @param {string} workspace */
function framesOf(error, workspace) {
  const frames = [];
  for (const line of stackOf(error).split('\n')) {
    const found = FRAME.exec(line);
    if (!found) continue;
    const { file, line: row, column } = found.groups;
    if (isForeign(file)) continue;
    const name = shown(file, workspace);
    frames.push({ text: line.replace(file, name), file: name, line: Number(row), column: Number(column) });
  }
  return frames;
}

/** @param {string} file */
function isForeign(file) {
  return file.startsWith('node:') || file.startsWith(AGENT) || file === 'native' || file === '<anonymous>';
}

/** A file by its path in the workspace. @param {string} file @param {string} workspace */
function shown(file, workspace) {
  const plain = file.replace(/^file:\/\//, '');
  return plain.startsWith(workspace + path.sep) ? plain.slice(workspace.length + 1) : plain;
}

/** @param {string} text @param {number} limit in bytes of UTF-8 @returns {string} */
function clip(text, limit) {
  const whole = text.length > limit ? text.slice(0, limit) : text;
  const bytes = Buffer.from(whole);
  if (bytes.length <= limit && whole.length === text.length) return text;
  const mark = ' …';
  // Cutting may split a character; what is left of it decodes to U+FFFD, and goes.
  return bytes.subarray(0, limit - Buffer.byteLength(mark)).toString().replace(/\ufffd$/, '') + mark;
}

module.exports = { clip, describe };
