"""The two scripts that run inside Redis: one applies a commit, the other reads keys.

A script is atomic and can look before it writes, which MULTI/EXEC cannot: EXEC carries on behind a command
that fails (WRONGTYPE), and takes no condition that is evaluated when it runs rather than when it was sent. So
the check of the marker, the check of the types and the writes are one step on the server. What is sent, and
what the answers mean, is decided in `redis_store`.
"""

from __future__ import annotations

import hashlib

# KEYS: the hash of markers, then the key of each operation; where the commit settles a dead letter, then those that
# `redis_store.LetterKeys` names: the letters, the marked ones, the totals, and the letter's own.
# ARGV: the actor, the marker it must have ("" for none), the commit's id, and the operations in MessagePack: an
# array of [name, ttl in milliseconds or nil, argument ...]; then the id of the dead letter that it settles, if any.
# Answers {"applied"}, {"overtaken"} where the marker is another one, or {"corrupt", place of the operation
# that does not fit, type found}.
APPLY_COMMIT = """
local markers, actor, after, id = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
local marker = redis.call('HGET', markers, actor) or ''
if marker == id then return {'applied'} end
if marker ~= after then return {'overtaken'} end

local ops, types = cmsgpack.unpack(ARGV[4]), {}
for i, op in ipairs(ops) do
  local key, name = KEYS[i + 1], op[1]
  if name == 'append' or name == 'trim' then
    local found = types[key] or redis.call('TYPE', key).ok
    if found ~= 'list' and found ~= 'none' then return {'corrupt', i - 1, found} end
    types[key] = 'list'
  elseif name == 'set' then types[key] = 'string'
  elseif name == 'list' then types[key] = 'list'
  elseif name == 'delete' or op[2] == 0 then types[key] = 'none'
  end
end

local settled, size, total = ARGV[5], 0, nil
local n = #ops + 1
if settled then
  -- A key of a wrong type raises here, in front of the first write.
  redis.call('ZSCORE', KEYS[n + 1], settled)
  redis.call('ZSCORE', KEYS[n + 2], settled)
  total = tonumber(redis.call('HGET', KEYS[n + 3], 'bytes') or '')
  size = tonumber(redis.call('HGET', KEYS[n + 4], 'bytes') or '') or 0
end

local function push(key, items)
  -- unpack puts its results on the stack, which has room for some thousands.
  for i = 1, #items, 4000 do
    redis.call('RPUSH', key, unpack(items, i, math.min(i + 3999, #items)))
  end
end

for i, op in ipairs(ops) do
  local key, name, ttl = KEYS[i + 1], op[1], op[2]
  if name == 'set' then redis.call('SET', key, op[3])
  elseif name == 'list' then
    redis.call('DEL', key)
    push(key, op[3])
  elseif name == 'append' then push(key, op[3])
  elseif name == 'trim' then redis.call('LTRIM', key, op[3], -op[4] - 1)
  elseif name == 'delete' then redis.call('DEL', key)
  elseif not ttl then redis.call('PERSIST', key)
  end
  if ttl then redis.call('PEXPIRE', key, ttl) end
end
if settled then
  redis.call('ZREM', KEYS[n + 1], settled)
  redis.call('ZREM', KEYS[n + 2], settled)
  redis.call('DEL', KEYS[n + 4])
  if total then redis.call('HSET', KEYS[n + 3], 'bytes', string.format('%d', math.max(0, total - size))) end
end
redis.call('HSET', markers, actor, id)
return {'applied'}
"""

APPLY_COMMIT_SHA = hashlib.sha1(APPLY_COMMIT.encode(), usedforsecurity=False).hexdigest()

# KEYS: the keys. Answers, for each, {type, milliseconds left, content}, or {type} where it is no type of
# ours.
FETCH = """
local found = {}
for i, key in ipairs(KEYS) do
  local kind = redis.call('TYPE', key).ok
  if kind == 'string' then found[i] = {kind, redis.call('PTTL', key), redis.call('GET', key)}
  elseif kind == 'list' then found[i] = {kind, redis.call('PTTL', key), redis.call('LRANGE', key, 0, -1)}
  else found[i] = {kind} end
end
return found
"""
