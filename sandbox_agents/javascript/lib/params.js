'use strict';
/**
 * What the params of the supervisor's requests, and the results of the agent's, must look like (specs/protocol.md).
 *
 * It decides only about shapes; whether a request comes at the right time is its handler's business. Members that it
 * does not know are ignored.
 */

const { isMap } = require('./session');

const MAX_ORDINAL = 2n ** 63n - 1n;

/** @typedef {{says: string, accepts: (value: any) => boolean, isRequired?: boolean, isNullable?: boolean}} Rule */

/** @type {Rule} */
const TEXT = { says: 'a string', accepts: (value) => typeof value === 'string' };
/** @type {Rule} */
const FLAG = { says: 'true or false', accepts: (value) => typeof value === 'boolean' };
/** @type {Rule} */
const MAP = { says: 'a map', accepts: isMap };
/** @type {Rule} */
const NAMES = { says: 'a list of strings', accepts: isNames };
/** @type {Rule} */
const MILLISECONDS = {
  says: 'a whole number of milliseconds, 0 to 2^53 - 1',
  accepts: (value) => Number.isSafeInteger(value) && value >= 0,
};
/** @type {Rule} */
const ORDINAL = {
  says: 'an integer from 1 to 2^63 - 1',
  accepts: (value) => (typeof value === 'bigint' ? value <= MAX_ORDINAL : Number.isSafeInteger(value)) && value >= 1,
};

/** @param {Rule} rule @returns {Rule} */
const required = (rule) => ({ ...rule, isRequired: true });

/** @param {Rule} rule @returns {Rule} */
const nullable = (rule) => ({ ...rule, says: `${rule.says}, or nil,`, isNullable: true });

/** @type {Record<string, Rule>} */
const STATE = { backend: TEXT, ttl_ms: nullable(MILLISECONDS) };

/** @type {Record<string, Rule>} */
const LOAD = {
  node: required(TEXT),
  component: required(TEXT),
  file: required({ says: 'a path', accepts: (value) => typeof value === 'string' && value !== '' }),
  source: required(TEXT),
  export: TEXT,
  config: MAP,
  incarnation: ORDINAL,
  inports: NAMES,
  outports: nullable(NAMES),
  error_port: FLAG,
  state: MAP,
  metadata: MAP,
  deadline_ms: nullable(MILLISECONDS),
};

/** @type {Record<string, Rule>} */
const ACTIVATE = {
  activation: required(ORDINAL),
  attempt: required(ORDINAL),
  epoch: required(ORDINAL),
  inputs: required({ says: 'a map of messages by port', accepts: isMap }),
  timeout_ms: nullable(MILLISECONDS),
  deadline_ms: nullable(MILLISECONDS),
};

/** @type {Record<string, Rule>} */
const STOP = { grace_ms: MILLISECONDS };

/**
 * @param {Record<string, any>} params
 * @param {Record<string, Rule>} rules
 * @param {string} [path]
 * @returns {string | null} which member is wrong, and what it should be
 */
function complaint(params, rules, path = '') {
  for (const [name, { says, accepts, isRequired = false, isNullable = false }] of Object.entries(rules)) {
    const isMissing = !Object.hasOwn(params, name);
    const value = params[name];
    const isRight = isMissing ? !isRequired : (value === null && isNullable) || accepts(value);
    if (!isRight) return `${path}${name}: ${says} is needed`;
  }
  return null;
}

/** @param {Record<string, any>} params */
function complaintAboutLoad(params) {
  return complaint(params, LOAD) ?? complaint(params.state ?? {}, STATE, 'state.');
}

/** @param {Record<string, any>} params */
function complaintAboutActivate(params) {
  return complaint(params, ACTIVATE);
}

/** @param {Record<string, any>} params */
function complaintAboutStop(params) {
  return complaint(params, STOP);
}

/** @param {any} value */
function isNames(value) {
  return Array.isArray(value) && value.every((item) => typeof item === 'string');
}

/** @param {any} result of `state.fetch` */
function isFetched(result) {
  return isMap(result) && Object.values(result).every(isStored);
}

/** @param {any} stored */
function isStored(stored) {
  if (!Array.isArray(stored) || stored.length !== 3) return false;
  const [kind, content, ttl] = stored;
  const isContent = kind === 'list' ? isNames(content) : kind === 'value' && typeof content === 'string';
  return isContent && (ttl === null || MILLISECONDS.accepts(ttl));
}

module.exports = { complaintAboutActivate, complaintAboutLoad, complaintAboutStop, isFetched, isNames };
