'use strict';
/** What `require('reflow')` gives a script. */

const { actor } = require('./actor');
const { ActorContext } = require('./context');
const { Message } = require('./message');
const { ActorState } = require('./state');

module.exports = { ActorContext, ActorState, Message, actor };
