'use strict';
/** What is wrong with bytes, or with a value that should become bytes. */

/** The bytes are not a value of this protocol. */
class MalformedError extends Error {}

/** A value that cannot be encoded; `message` names the value, the caller knows where it stood. */
class EncodeError extends TypeError {}

module.exports = { EncodeError, MalformedError };
