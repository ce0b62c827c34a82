/**
 * The steps of the Redis store that must be one step: Lua, run by Redis.
 *
 * Keys, behind a prefix that names the homeserver:
 *   run       what names this run of the store; redis: the Redis process it began in
 *   v:<key>   a value                        h:<key>   a hash: member → "<end in ms or 0>|<value>"
 *   b:<key>   a token bucket                 ends      when what ends: a sorted set by time
 *   topics    topic → version                floors    topic → version up to which changes may be forgotten
 *   c:<topic> the keys of a topic by the version of their last change
 * All keys bear the same hash tag, so that one node of a cluster holds them.
 */
import { createHash } from "node:crypto";

/** Changes of a topic that are remembered. */
const MAX_CHANGES = 10_000;
const MAX_SWEPT = 500;

const PRELUDE = `
local prefix = KEYS[1]
local function now()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
local function run()
  local id = redis.call('GET', prefix .. 'run')
  if id then return id end
  local seed = redis.call('TIME')
  id = redis.sha1hex(prefix .. seed[1] .. '.' .. seed[2])
  redis.call('SET', prefix .. 'run', id)
  return id
end
local function change(topic, key)
  if topic == '' then return end
  local id = run()
  local version = redis.call('HINCRBY', prefix .. 'topics', topic, 1)
  local changes = prefix .. 'c:' .. topic
  redis.call('ZADD', changes, version, key)
  local excess = redis.call('ZCARD', changes) - ${MAX_CHANGES}
  if excess > 0 then
    local forgotten = redis.call('ZPOPMIN', changes, excess)
    redis.call('HSET', prefix .. 'floors', topic, forgotten[#forgotten])
  end
  redis.call('PUBLISH', prefix .. 'changes', cjson.encode({topic, key, id, version}))
end
local function endOf(kind, key, member, topic)
  return cjson.encode({kind, key, member, topic})
end
-- The value of a member, unless its time is over.
local function alive(stored, at)
  if not stored then return nil end
  local bar = string.find(stored, '|', 1, true)
  local ends = tonumber(string.sub(stored, 1, bar - 1))
  if ends ~= 0 and ends <= at then return nil end
  return string.sub(stored, bar + 1)
end
`;

export interface Script {
  text: string;
  sha: string;
}

function script(body: string): Script {
  const text = PRELUDE + body;
  return { text, sha: createHash("sha1").update(text).digest("hex") };
}

export const scripts = {
  /** Begins a new run if Redis was started again: it may have lost its last changes. */
  begin: script(`
    local redisRun = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
    if redis.call('GET', prefix .. 'redis') ~= redisRun then
      redis.call('DEL', prefix .. 'run')
      redis.call('SET', prefix .. 'redis', redisRun)
    end
    return run()
  `),

  /** key, value, ttl in ms or '', topic */
  put: script(`
    local key, value, ttl, topic = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
    local stored = prefix .. 'v:' .. key
    local before = redis.call('GET', stored)
    if ttl == '' then redis.call('SET', stored, value)
    else
      redis.call('SET', stored, value, 'PX', ttl)
      if topic ~= '' then
        redis.call('ZADD', prefix .. 'ends', now() + ttl, endOf('v', key, '', topic))
      end
    end
    if before ~= value then change(topic, key) end
  `),

  /** key, topic */
  remove: script(`
    local key, topic = ARGV[1], ARGV[2]
    local at, wasThere = now(), redis.call('DEL', prefix .. 'v:' .. key) > 0
    for _, stored in ipairs(redis.call('HVALS', prefix .. 'h:' .. key)) do
      if alive(stored, at) then wasThere = true break end
    end
    redis.call('DEL', prefix .. 'h:' .. key)
    if wasThere then change(topic, key) end
  `),

  /** key */
  members: script(`
    local at, result = now(), {}
    local all = redis.call('HGETALL', prefix .. 'h:' .. ARGV[1])
    for i = 1, #all, 2 do
      local value = alive(all[i + 1], at)
      if value then
        result[#result + 1] = all[i]
        result[#result + 1] = value
      end
    end
    return result
  `),

  /** key, member, value, ttl in ms or '', topic */
  putMember: script(`
    local key, member, value, ttl, topic = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
    local hash, at, ends = prefix .. 'h:' .. key, now(), 0
    local before = alive(redis.call('HGET', hash, member), at)
    if ttl ~= '' then
      ends = at + ttl
      redis.call('ZADD', prefix .. 'ends', ends, endOf('h', key, member, topic))
    end
    redis.call('HSET', hash, member, string.format('%d', ends) .. '|' .. value)
    if before ~= value then change(topic, key) end
  `),

  /** key, member, topic */
  removeMember: script(`
    local key, member, topic = ARGV[1], ARGV[2], ARGV[3]
    local hash = prefix .. 'h:' .. key
    local before = alive(redis.call('HGET', hash, member), now())
    redis.call('HDEL', hash, member)
    if before then change(topic, key) end
  `),

  /** Removes what has ended, and gives how much there was. An entry written again since stays. */
  sweep: script(`
    local at = now()
    local due = redis.call('ZRANGEBYSCORE', prefix .. 'ends', '-inf', at, 'LIMIT', 0, ${MAX_SWEPT})
    for _, entry in ipairs(due) do
      redis.call('ZREM', prefix .. 'ends', entry)
      local parts = cjson.decode(entry)
      local kind, key, member, topic = parts[1], parts[2], parts[3], parts[4]
      if kind == 'v' then
        if redis.call('EXISTS', prefix .. 'v:' .. key) == 0 then change(topic, key) end
      else
        local hash = prefix .. 'h:' .. key
        local stored = redis.call('HGET', hash, member)
        if stored and not alive(stored, at) then
          redis.call('HDEL', hash, member)
          change(topic, key)
        end
      end
    end
    return #due
  `),

  /** key, tokens a second, burst, cost; gives whether, and the ms to wait ('' for ever) */
  takeTokens: script(`
    local bucket = prefix .. 'b:' .. ARGV[1]
    local rate, burst, cost = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
    local at = now()
    local held = redis.call('HMGET', bucket, 'tokens', 'at')
    local tokens = burst
    if held[1] then
      tokens = math.min(burst, held[1] + math.max(0, at - held[2]) / 1000 * rate)
    end
    local allowed = tokens >= cost
    if allowed then tokens = tokens - cost end
    redis.call('HSET', bucket, 'tokens', string.format('%.17g', tokens), 'at', string.format('%d', at))
    local full = 86400000
    if rate > 0 then full = math.min(full * 30, math.ceil((burst - tokens) / rate * 1000) + 1000) end
    redis.call('PEXPIRE', bucket, full)
    if allowed then return {1, '0'} end
    if rate <= 0 then return {0, ''} end
    return {0, string.format('%d', math.ceil((cost - tokens) / rate * 1000))}
  `),

  /** topic, key */
  touch: script(`
    change(ARGV[1], ARGV[2])
    return {run(), tonumber(redis.call('HGET', prefix .. 'topics', ARGV[1]))}
  `),

  /** topic */
  position: script(`
    return {run(), tonumber(redis.call('HGET', prefix .. 'topics', ARGV[1]) or 0)}
  `),

  /** topic, run, version; gives nothing, or run, version and keys */
  changesAfter: script(`
    local topic, id, seen = ARGV[1], run(), tonumber(ARGV[3])
    local version = tonumber(redis.call('HGET', prefix .. 'topics', topic) or 0)
    local floor = tonumber(redis.call('HGET', prefix .. 'floors', topic) or 0)
    if id ~= ARGV[2] or seen < floor or seen > version then return false end
    local keys = redis.call('ZRANGEBYSCORE', prefix .. 'c:' .. topic, '(' .. ARGV[3], '+inf')
    return {id, version, keys}
  `),
} as const satisfies Record<string, Script>;
