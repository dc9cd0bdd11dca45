-- The decision of `decide/`, for Redis 6.2 or later and Valkey. What changes there changes here; a test runs both.
--
-- KEYS[1]  the fleet's state, one hash: what is lost is lost as a whole, and shows as an epoch that nobody knows.
-- ARGV[1]  the ask, JSON
-- ARGV[2]  the fleet's timing, JSON
-- ARGV[3]  the prefix of the channels
-- ARGV[4]  in tests: JSON of `clock` and `run`, which take the place of the server's
--
-- Times are microseconds, as doubles: whole and exact up to 2^53. Nothing is written before the end, and all of it at
-- once, so an error or a lack of memory changes nothing. What may fail after that (HDEL, PEXPIRE, PUBLISH, if the user may
-- not call them) loses no answer: the same call again gets the one that was written.
local MEMORY, NEVER, TOLERATED = 600000000, 9000000000000000, 1000000
local MOST_RUNS, MOST_WARNINGS, MOST_LESSONS, MOST_WOKEN = 1024, 8, 16, 8
local LONGEST, BLOCKED, SOONEST, GRACE, ROUNDS, NEWS = 1000000, 500000, 1000, 50000, 4, 20000
local SWEPT, LATE = 8, 50000
local KEY = KEYS[1]
local ask, timing = cjson.decode(ARGV[1]), cjson.decode(ARGV[2])
local min, max, floor, insert, remove = math.min, math.max, math.floor, table.insert, table.remove
local D, AHEAD, LEASE = timing.reservation, timing.ahead, timing.lease
local NONE = {}

local function text(x) return string.format('%.0f', x) end
local function clamp(x, low, high) return max(low, min(high, x)) end
local function some(list) if list and #list > 0 then return list end end

local clock, run
if ARGV[4] and ARGV[4] ~= '' then
  local test = cjson.decode(ARGV[4])
  clock, run = test.clock, test.run
else
  local time = redis.call('TIME')
  clock = time[1] * 1000000 + time[2]
  run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
end

-- The state, by the fields that this call needs.
local fields = { 'meta', 'm:' .. ask.member }
for i, scope in ipairs(ask.scopes) do fields[i + 2] = 's:' .. scope.name end
local raw = redis.call('HMGET', KEY, unpack(fields))
local function unpacked(i) if raw[i] then return cmsgpack.unpack(raw[i]) end end
local meta = unpacked(1) or { last = 0, before = 0, off = 0, sweep = '0', keep = 0 }
local record = unpacked(2)

-- One clock that never goes back, made of one that may step; epochs; the same call again.
local now = clock + meta.off
if now < meta.last then
  meta.off = meta.off + meta.last - now
  now = meta.last
end
meta.before = meta.last
meta.last = now
local begins = not meta.epoch or meta.run ~= run
if record and record.at + MEMORY < now then record = nil end
if record and not begins then
  if record.seq == ask.seq then return record.answer end
  if record.seq > ask.seq then return '{"stale":true}' end
  if ask.since and record.seq + 1 == ask.seq then
    local sent = ask.since.sent
    if now - record.at - sent > TOLERATED + floor(sent / 1000) then
      local sure = meta.caller == ask.member and meta.epoch == ask.epoch and ask.since.heard or 0
      local real = min(meta.before + sure, now)
      meta.off = meta.off + real - now
      meta.last = real
      now = real
    end
  end
end
meta.caller = ask.member
local news = {}
if begins then
  meta.run, meta.begun, meta.settles = run, now, 0
  meta.epoch = run .. ':' .. text(now)
  news[1] = { epoch = meta.epoch }
end
local known = ask.epoch == '' or ask.epoch == meta.epoch

-- Costs: by unit, requests first.
local unit_index = {}
for i, unit in ipairs(ask.units) do unit_index[unit] = i end
local function cost(costs, i)
  local c = costs and costs[i]
  if c then return c end
  return i == 1 and 1 or 0
end
local function cost_in(costs, window)
  local i = unit_index[window.unit]
  return i and cost(costs, i) or 0
end

-- Windows: units that are free again at an instant, as runs, sorted.
local function put(window, free, units)
  local runs = window.runs
  local i = #runs
  while i > 0 and runs[i][1] > free do i = i - 1 end
  if i > 0 and runs[i][1] == free then
    runs[i][2] = runs[i][2] + units
  else
    insert(runs, i + 1, { free, units })
  end
  window.sum = window.sum + units
end
local function cut(window, last, units)
  if last <= window.exact_from then return 0 end
  local free = last + window.span
  for i, one in ipairs(window.runs) do
    if one[1] == free then
      local less = min(units, one[2])
      one[2] = one[2] - less
      window.sum = window.sum - less
      if one[2] == 0 then remove(window.runs, i) end
      return less
    end
  end
  return 0
end
local function opens(window, skip, need, soon)
  local room = window.n - window.held
  need = min(need, window.n)
  if room < need then return nil end
  local ahead, extra = skip + need, 0
  if ahead > room then
    local turns = floor((ahead - room + room - 1) / room)
    ahead = ahead - turns * room
    extra = turns * (window.span + D)
  end
  local free, at = room - window.sum, now
  for _, one in ipairs(window.runs) do
    if ahead <= free then break end
    free = free + one[2]
    at = one[1]
  end
  at = min(at + extra, NEVER)
  if extra > 0 then at = max(at, soon + 1) end
  return at
end
local function take(window, skip, need, free)
  local now_free = window.n - window.held - window.sum
  local left = min(need, window.n)
  left = left - clamp(max(now_free, 0) - skip, 0, left)
  skip = max(skip - now_free, 0)
  local runs, kept = window.runs, {}
  for _, one in ipairs(runs) do
    local taken = clamp(one[2] - skip, 0, left)
    skip = max(skip - one[2], 0)
    one[2] = one[2] - taken
    window.sum = window.sum - taken
    left = left - taken
    if one[2] > 0 then kept[#kept + 1] = one end
  end
  window.runs = kept
  put(window, free, need)
end
local function coarsen(window)
  while #window.runs > MOST_RUNS do
    local runs, fewer = window.runs, {}
    for i = 1, #runs, 2 do
      local other = runs[i + 1]
      fewer[#fewer + 1] = other and { other[1], runs[i][2] + other[2] } or runs[i]
    end
    window.runs = fewer
  end
end

-- What is held until a request's end.
local function sum_charges(scope)
  for _, window in ipairs(scope.windows) do
    local held = 0
    if window.at_end then
      for _, holder in ipairs(scope.holders) do
        for _, one in ipairs(holder.held) do
          for _, charge in ipairs(one.charges) do
            if charge[1] == window.unit then held = held + charge[2] end
          end
        end
      end
    end
    window.held = held
  end
end
local function count_at_end(scope, charges, at)
  for _, window in ipairs(scope.windows) do
    if window.at_end then
      for _, charge in ipairs(charges) do
        if charge[1] == window.unit then
          if at + window.span > now then put(window, at + window.span, charge[2]) end
          break
        end
      end
    end
  end
end
local function charges_of(scope, costs)
  local charges, has = {}, {}
  for _, window in ipairs(scope.windows) do
    if window.at_end and not has[window.unit] then
      local units = cost_in(costs, window)
      if units > 0 then
        has[window.unit] = true
        charges[#charges + 1] = { window.unit, units }
      end
    end
  end
  return charges
end
local function holder_of(scope, member)
  for i, holder in ipairs(scope.holders) do
    if holder.member == member then return holder, i end
  end
end
local function held_by(scope, member)
  local holder = holder_of(scope, member)
  return holder and #holder.held or 0
end
local function used(scope)
  local sum = 0
  for _, holder in ipairs(scope.holders) do
    for _, one in ipairs(holder.held) do sum = sum + one.permits end
  end
  return sum
end

-- Scopes: what is over is dropped.
local function forget(scope)
  local kept = {}
  for _, definition in ipairs(scope.definitions) do
    local speakers = {}
    for _, speaker in ipairs(definition.speakers) do
      if speaker[2] >= now then speakers[#speakers + 1] = speaker end
    end
    definition.speakers = speakers
    if #speakers > 0 then kept[#kept + 1] = definition end
  end
  scope.definitions = kept
  for _, window in ipairs(scope.windows) do
    local runs, sum = {}, 0
    for _, one in ipairs(window.runs) do
      if one[1] > now then
        runs[#runs + 1] = one
        sum = sum + one[2]
      end
    end
    window.runs, window.sum = runs, sum
  end
  local live, lapsed = {}, {}
  for _, holder in ipairs(scope.holders) do
    if holder['until'] >= now then live[#live + 1] = holder else lapsed[#lapsed + 1] = holder end
  end
  scope.holders = live
  for _, holder in ipairs(lapsed) do
    scope.freed = true
    for _, one in ipairs(holder.held) do count_at_end(scope, one.charges, holder['until']) end
  end
  sum_charges(scope)
  local windows = {}
  for _, window in ipairs(scope.windows) do
    if #window.runs > 0 or window.held > 0 then windows[#windows + 1] = window end
  end
  scope.windows = windows
  local tickets = {}
  for _, ticket in ipairs(scope.tickets) do
    if ticket['until'] >= now then tickets[#tickets + 1] = ticket end
  end
  scope.tickets = tickets
  if scope.paused <= now then scope.paused = 0 end
  if scope.generation + MEMORY < now then scope.generation = 0 end
  local lessons = {}
  for _, lesson in ipairs(scope.lessons) do
    if lesson.version + MEMORY >= now then lessons[#lessons + 1] = lesson end
  end
  scope.lessons = lessons
end
local function is_empty(scope)
  return #scope.definitions == 0 and #scope.windows == 0 and #scope.holders == 0 and #scope.tickets == 0
    and scope.paused == 0 and scope.generation == 0 and #scope.lessons == 0
end
-- Until when something of it counts.
local function lasts(scope)
  local far, longest = max(scope.paused, now), 0
  for _, window in ipairs(scope.windows) do
    longest = max(longest, window.span)
    local last = window.runs[#window.runs]
    if last then far = max(far, last[1]) end
  end
  for _, holder in ipairs(scope.holders) do far = max(far, holder['until'] + longest) end
  if scope.generation > 0 or #scope.lessons > 0 then far = max(far, now + MEMORY) end
  return far
end

-- Limits: the strictest of the live members.
local function fingerprint(scope)
  local t = { tostring(scope.permits or '-'), tostring(scope.learned_permits or '-') }
  for _, w in ipairs(scope.windows or NONE) do
    t[#t + 1] = table.concat({ w.unit, text(w.rank), text(w.n), w.learned and text(w.learned) or '-', text(w.period),
      text(w.margin), text(w.learned_margin or 0), w.at_end and 'e' or 'd' }, ' ')
  end
  return table.concat(t, ';')
end
local warnings = {}
local function disagreements(asked, other)
  local member = other.speakers[1][1]
  local function warn(what, unit, rank, mine, theirs)
    if mine ~= theirs and #warnings < MOST_WARNINGS then
      warnings[#warnings + 1] =
        { scope = asked.name, what = what, unit = unit, rank = rank, mine = mine, theirs = theirs, member = member }
    end
  end
  local function find(windows, like)
    for _, window in ipairs(windows) do
      if window.unit == like.unit and window.rank == like.rank then return window end
    end
  end
  warn('permits', '', 0, asked.permits or 0, other.permits or 0)
  local mine = asked.windows or NONE
  for _, window in ipairs(mine) do
    local theirs = find(other.windows, window)
    if not theirs then
      warn('window', window.unit, window.rank, window.n, 0)
    else
      warn('n', window.unit, window.rank, window.n, theirs.n)
      warn('period', window.unit, window.rank, window.period, theirs.period)
      warn('margin', window.unit, window.rank, window.margin, theirs.margin)
      warn('at_end', window.unit, window.rank, window.at_end and 1 or 0, theirs.at_end and 1 or 0)
    end
  end
  for _, theirs in ipairs(other.windows) do
    if not find(mine, theirs) then warn('window', theirs.unit, theirs.rank, 0, theirs.n) end
  end
end
local function configure(scope, asked)
  local print = fingerprint(asked)
  local speaker, mine = { ask.member, now + 3 * LEASE }, nil
  for _, definition in ipairs(scope.definitions) do
    local speakers = {}
    for _, one in ipairs(definition.speakers) do
      if one[1] ~= ask.member then speakers[#speakers + 1] = one end
    end
    definition.speakers = speakers
    if definition.print == print then mine = definition end
  end
  if not mine then
    mine = { print = print, windows = asked.windows or {}, permits = asked.permits,
      learned_permits = asked.learned_permits, speakers = {} }
    insert(scope.definitions, mine)
  end
  insert(mine.speakers, speaker)
  local kept = {}
  for _, definition in ipairs(scope.definitions) do
    if #definition.speakers > 0 then
      kept[#kept + 1] = definition
      if definition ~= mine then disagreements(asked, definition) end
    end
  end
  scope.definitions = kept
  scope.permits = nil
  local by = {}
  for _, window in ipairs(scope.windows) do
    by[window.unit .. ' ' .. window.rank] = window
    window.n = 0
  end
  for _, definition in ipairs(kept) do
    for _, permits in ipairs({ definition.permits or NEVER, definition.learned_permits or NEVER }) do
      if permits < NEVER then scope.permits = min(permits, scope.permits or permits) end
    end
    for _, limit in ipairs(definition.windows) do
      local name = limit.unit .. ' ' .. limit.rank
      local window = by[name]
      if not window then
        window = { unit = limit.unit, rank = limit.rank, span = 0, n = 0, runs = {}, sum = 0, held = 0, exact_from = 0 }
        by[name] = window
        insert(scope.windows, window)
      end
      local least = min(limit.learned or limit.n, limit.n)
      if window.n == 0 then
        window.n, window.period, window.margin, window.ends = least, 0, 0, false
      end
      window.n = min(window.n, least)
      window.period = max(window.period, limit.period)
      window.margin = max(window.margin, limit.margin, limit.learned_margin or 0)
      window.ends = window.ends or limit.at_end or false
    end
  end
  for _, window in ipairs(scope.windows) do
    if window.n > 0 then
      local span = window.period + window.margin
      if span < window.span then window.exact_from = now + AHEAD + D end
      if span > window.span and window.span > 0 then
        for _, one in ipairs(window.runs) do one[1] = one[1] + span - window.span end
      end
      if window.at_end and not window.ends and window.held > 0 then
        put(window, now + AHEAD + D + span, window.held)
      end
      window.span, window.at_end = span, window.ends
    end
    window.period, window.margin, window.ends = nil, nil, nil
  end
  sum_charges(scope)
end

local function settles_for(longest)
  meta.settles = max(meta.settles, min(max(longest + D + AHEAD, timing.settle_least), timing.settle_most))
end
-- A call may name no scope.
settles_for(0)
local scopes = {}
for i, asked in ipairs(ask.scopes) do
  local scope = unpacked(i + 2)
    or { definitions = {}, windows = {}, holders = {}, tickets = {}, paused = 0, generation = 0, lessons = {} }
  forget(scope)
  configure(scope, asked)
  local longest = 0
  for _, window in ipairs(scope.windows) do longest = max(longest, window.span) end
  settles_for(longest)
  scope.given_back = 0
  scopes[i] = scope
end
local settling = max(meta.begun + meta.settles - now, 0)

-- What the member says.
for i, asked in ipairs(ask.scopes) do
  local scope = scopes[i]
  if asked.keep then
    local _, at = holder_of(scope, ask.member)
    if at then remove(scope.holders, at) end
    local held = {}
    for j, hold in ipairs(asked.keep) do
      held[j] = { id = hold.id, permits = hold.permits, charges = charges_of(scope, hold.costs) }
    end
    if #held > 0 then insert(scope.holders, { member = ask.member, ['until'] = now + LEASE, held = held }) end
    scope.freed = true
    sum_charges(scope)
  end
  local mine = holder_of(scope, ask.member)
  if mine then mine['until'] = now + LEASE end
end
for _, release in ipairs(ask.releases or NONE) do
  for _, index in ipairs(release.scopes) do
    local scope = scopes[index + 1]
    local mine, at = holder_of(scope, ask.member)
    local charges = nil
    for j, one in ipairs(mine and mine.held or NONE) do
      if one.id == release.id then
        remove(mine.held, j)
        if #mine.held == 0 then remove(scope.holders, at) end
        scope.freed, charges = true, one.charges
        break
      end
    end
    -- One that is not held may have outlived its lease.
    if release.costs and (charges or known) then charges = charges_of(scope, release.costs) end
    count_at_end(scope, charges or NONE, now)
    sum_charges(scope)
  end
end
for _, stamp in ipairs(ask.stamps or NONE) do
  for _, index in ipairs(stamp.scopes) do
    for _, window in ipairs(scopes[index + 1].windows) do
      if (window.at_end or false) == (stamp.at_end or false) then
        local units, free = cost_in(stamp.costs, window), now - stamp.age + window.span
        if units > 0 and free > now then put(window, free, units) end
      end
    end
  end
end
if known then
  for _, back in ipairs(ask.back or NONE) do
    local last = tonumber(back['end'])
    for _, index in ipairs(back.scopes) do
      local scope = scopes[index + 1]
      for _, window in ipairs(scope.windows) do
        if not window.at_end then
          local less = cut(window, last, cost_in(back.costs, window))
          if less > 0 and last - back.reservation > now then put(window, last - back.reservation, less) end
          scope.given_back = max(scope.given_back, less)
        end
      end
    end
  end
  for _, settlement in ipairs(ask.settlements or NONE) do
    local last, unit = tonumber(settlement['end']), ask.units[settlement.unit + 1]
    for _, index in ipairs(settlement.scopes) do
      local scope = scopes[index + 1]
      for _, window in ipairs(scope.windows) do
        if not window.at_end and window.unit == unit then
          local free = last + window.span
          if settlement.change < 0 then
            scope.given_back = max(scope.given_back, cut(window, last, -settlement.change))
          elseif settlement.change > 0 and free > now then
            put(window, free, settlement.change)
          end
        end
      end
    end
  end
end
local told = {}
for i, asked in ipairs(ask.scopes) do
  local scope = scopes[i]
  local generation, heard = tonumber(asked.generation), tonumber(asked.heard)
  if generation > scope.generation and generation <= now + MEMORY then
    scope.generation, scope.paused = generation, 0
  end
  local current, before = generation >= scope.generation, max(scope.paused, now)
  if asked.pause and current then scope.paused = max(scope.paused, now + asked.pause) end
  if asked.resume and current then
    scope.paused, scope.generation, scope.moved = 0, max(now, scope.generation + 1), true
  end
  local after = max(scope.paused, now)
  if asked.resume and current or after > before + NEWS then
    news[#news + 1] = { pause = { scope = asked.name, left = after - now, generation = text(scope.generation) } }
  end
  local last = 0
  for _, lesson in ipairs(scope.lessons) do last = max(last, lesson.version) end
  local said = max(now, last + 1)
  for _, lesson in ipairs(asked.lessons or NONE) do
    for j, one in ipairs(scope.lessons) do
      if one.subject == lesson.subject then
        remove(scope.lessons, j)
        break
      end
    end
    insert(scope.lessons, { subject = lesson.subject, value = lesson.value, version = said })
    if #scope.lessons > MOST_LESSONS then remove(scope.lessons, 1) end
  end
  local version, newer = 0, {}
  for _, lesson in ipairs(scope.lessons) do
    version = max(version, lesson.version)
    if lesson.version > heard then newer[#newer + 1] = { subject = lesson.subject, value = lesson.value } end
  end
  told[i] = {
    paused = max(scope.paused - now, 0), generation = text(scope.generation), version = text(version),
    assert = held_by(scope, ask.member) ~= asked.holds or nil, lessons = some(newer),
  }
end

-- Places and tickets.
local function precedes(a, b) -- class, arrival, member, leaf
  if a[1] ~= b[1] then return a[1] < b[1] end
  if a[2] ~= b[2] then return a[2] < b[2] end
  if a[3] ~= b[3] then return a[3] < b[3] end
  return a[4] < b[4]
end
local function place_of(ticket) return { ticket.class, ticket.arrivals[1], ticket.member, ticket.leaf } end
local function waiting_before(ticket, place)
  if ticket.class < place[1] then return ticket.waiting end
  if ticket.class > place[1] then return 0 end
  local tie = ticket.member < place[3] or ticket.member == place[3] and ticket.leaf < place[4]
  local arrivals, older = ticket.arrivals, 0
  local listed = #arrivals
  for _, arrival in ipairs(arrivals) do
    if arrival < place[2] or arrival == place[2] and tie then older = older + 1 else break end
  end
  if older == listed then return ticket.waiting end
  if ticket.waiting == listed or older < listed - 1 then return older end
  if listed < 2 then return 0 end
  local last, youngest = arrivals[listed - 1], arrivals[listed]
  return older + floor((ticket.waiting - listed) * (place[2] - last) / (youngest - last))
end
local function ticket_cost(ticket, unit, many, usual)
  for _, costs in ipairs(ticket.costs) do
    if costs.unit == unit then
      local first, heads = 0, #costs.heads
      for j = 1, min(many, heads) do first = first + costs.heads[j] end
      if many <= heads then return first end
      return first + floor(max(costs.total - first, 0) * (many - heads) / (ticket.waiting - heads))
    end
  end
  return many * usual
end
local function new_ticket(leaf, granted)
  local costs = {}
  local function unusual(unit, each, total, usual)
    local heads, gone, odd = {}, 0, total ~= leaf.waiting * usual
    for j, head in ipairs(leaf.heads) do
      local c = each(head)
      odd = odd or c ~= usual
      if j <= granted then gone = gone + c else heads[#heads + 1] = c end
    end
    if odd then costs[#costs + 1] = { unit = unit, heads = heads, total = total - gone } end
  end
  for i, unit in ipairs(ask.units) do
    local usual = i == 1 and 1 or 0
    unusual(unit, function(head) return cost(head.costs, i) end, leaf.totals and leaf.totals[i] or leaf.waiting * usual, usual)
  end
  unusual('', function(head) return head.permits or 1 end, leaf.permits or leaf.waiting, 1)
  local arrivals = {}
  for j = granted + 1, #leaf.ages do arrivals[#arrivals + 1] = now - leaf.ages[j] end
  return { member = ask.member, leaf = leaf.leaf, class = leaf.class, arrivals = arrivals,
    waiting = leaf.waiting - granted, costs = costs, from = 0, blocked = false }
end

-- The contest.
local soon = now + AHEAD
local function scope_opens(scope, head, place, by, skips)
  local before = {}
  for _, ticket in ipairs(scope.tickets) do
    if ticket.from <= by then
      local many = waiting_before(ticket, place)
      if many > 0 then before[#before + 1] = { ticket, many } end
    end
  end
  local latest, blocked = max(scope.paused, now), false
  for w, window in ipairs(scope.windows) do
    local skip = 0
    for _, one in ipairs(before) do
      skip = skip + ticket_cost(one[1], window.unit, one[2], window.unit == 'requests' and 1 or 0)
    end
    skips[w] = skip
    local need = window.n > 0 and cost_in(head.costs, window) or 0
    if need > 0 then
      local at = opens(window, skip, need, soon)
      if at then latest = max(latest, at) else blocked = true end
    end
  end
  if scope.permits then
    local skip = 0
    for _, one in ipairs(before) do skip = skip + ticket_cost(one[1], '', one[2], 1) end
    if scope.permits - used(scope) - skip < min(head.permits or 1, scope.permits) then blocked = true end
  end
  return latest, blocked
end
local function stand(leaf, position, head)
  local place = { leaf.class, now - leaf.ages[position], ask.member, leaf.leaf }
  local standing = { at = now, each = {}, blocked = {}, skips = {}, any = false }
  for _ = 1, ROUNDS do
    local latest, any = standing.at, false
    for p, index in ipairs(leaf.scopes) do
      standing.skips[p] = {}
      local at, blocked = scope_opens(scopes[index + 1], head, place, standing.at + AHEAD, standing.skips[p])
      standing.each[p], standing.blocked[p] = at, blocked
      any = any or blocked
      latest = max(latest, at)
    end
    standing.any = any
    if latest <= standing.at then break end
    standing.at = latest
  end
  return standing
end
local function grant(leaf, head, standing)
  local last, held = standing.at + D, {}
  for p, index in ipairs(leaf.scopes) do
    local scope = scopes[index + 1]
    for w, window in ipairs(scope.windows) do
      local need = window.n > 0 and cost_in(head.costs, window) or 0
      if need > 0 and not window.at_end then take(window, standing.skips[p][w], need, last + window.span) end
    end
    local charges = charges_of(scope, head.costs)
    if scope.permits or #charges > 0 then
      local one = { id = head.id, permits = head.permits or 1, charges = charges }
      local mine = holder_of(scope, ask.member)
      if mine then
        insert(mine.held, one)
      else
        insert(scope.holders, { member = ask.member, ['until'] = now + LEASE, held = { one } })
      end
      sum_charges(scope)
      held[#held + 1] = index
    end
  end
  return { wait = standing.at - now, ['end'] = text(last), held = some(held) }
end
local function from(standing, position)
  if settling > 0 or not known then return 0 end
  local open, other_blocked
  for other = 1, #standing.each do
    if other ~= position then
      open = max(open or standing.each[other], standing.each[other])
      other_blocked = other_blocked or standing.blocked[other]
    end
  end
  if not standing.blocked[position] and other_blocked then return NEVER end
  open = open or now
  local binds = standing.each[position] >= open - AHEAD
  if open > soon and (standing.blocked[position] or not binds) then return open end
  return 0
end
local function serve(leaf)
  local old = {}
  for p, index in ipairs(leaf.scopes) do
    local tickets = scopes[index + 1].tickets
    for j, ticket in ipairs(tickets) do
      if ticket.member == ask.member and ticket.leaf == leaf.leaf then
        old[p] = remove(tickets, j)
        break
      end
    end
  end
  local grants, standing = {}, nil
  for j, head in ipairs(leaf.heads or NONE) do
    local stands = stand(leaf, j, head)
    if not known or settling > 0 or stands.at > soon or stands.any then
      standing = stands
      break
    end
    grants[j] = grant(leaf, head, stands)
  end
  local granted = #grants
  local rest = leaf.waiting - granted
  for p, index in ipairs(leaf.scopes) do
    if old[p] and rest == 0 and old[p].waiting > granted then scopes[index + 1].moved = true end
  end
  local out = { grants = some(grants) }
  if rest == 0 then return out end
  local again = 0
  if standing and known then
    if settling > 0 then again = settling
    elseif standing.at > soon then again = standing.at - floor(AHEAD / 2) - now
    else again = BLOCKED end
    again = clamp(again, SOONEST, LONGEST)
  end
  out.again, out.wait = again, standing and standing.at - now or nil
  for p, index in ipairs(leaf.scopes) do
    local ticket, scope = new_ticket(leaf, granted), scopes[index + 1]
    ticket['until'] = now + again + GRACE
    if standing then ticket.from, ticket.blocked = from(standing, p), standing.blocked[p] end
    if old[p] and old[p].from < ticket.from then scope.freed = true end
    insert(scope.tickets, ticket)
  end
  return out
end
-- Ages that are reported again: a call takes longer at one time than at another, and requests seem as much younger.
local function steady(leaf)
  for _, index in ipairs(leaf.scopes) do
    for _, ticket in ipairs(scopes[index + 1].tickets) do
      if ticket.member == ask.member and ticket.leaf == leaf.leaf then
        local most = NEVER
        for j = 1, min(#leaf.ages, #ticket.arrivals) do
          local age, before = leaf.ages[j], now - ticket.arrivals[j]
          if before > age and before < age + LATE then leaf.ages[j] = min(before, most) end
          most = leaf.ages[j]
        end
        return
      end
    end
  end
end
local order, leaves = {}, {}
for i, leaf in ipairs(ask.leaves or NONE) do
  if leaf.ages then steady(leaf) end
  local left = not some(leaf.ages)
  order[i] = { i = i, leaf = leaf, left = left,
    place = { left and leaf.leaf or leaf.class, left and leaf.class or now - leaf.ages[1], ask.member, leaf.leaf } }
end
table.sort(order, function(a, b)
  if a.left ~= b.left then return b.left end
  return precedes(a.place, b.place)
end)
for _, one in ipairs(order) do leaves[one.i] = serve(one.leaf) end

-- Whom to wake.
local woken, wake = {}, {}
local function wake_up(ticket)
  if not woken[ticket.member] then
    woken[ticket.member] = true
    wake[#wake + 1] = ticket.member
  end
end
for _, scope in ipairs(scopes) do
  if scope.moved or scope.freed or scope.given_back > 0 then
    local waiting = {}
    for _, ticket in ipairs(scope.tickets) do
      if ticket.member ~= ask.member then waiting[#waiting + 1] = ticket end
    end
    table.sort(waiting, function(a, b) return precedes(place_of(a), place_of(b)) end)
    if scope.moved then
      for _, ticket in ipairs(waiting) do wake_up(ticket) end
    else
      local units = min(scope.given_back, MOST_WOKEN)
      for _, ticket in ipairs(waiting) do
        if units <= 0 then break end
        wake_up(ticket)
        units = units - ticket.waiting
      end
      if scope.freed then
        local left = scope.permits and scope.permits - used(scope) or MOST_WOKEN
        for _, ticket in ipairs(waiting) do
          if ticket.blocked then
            if left <= 0 then break end
            wake_up(ticket)
            left = left - ticket_cost(ticket, '', ticket.waiting, 1)
          end
        end
      end
    end
  end
end
table.sort(wake)

-- All is written at once, and then told.
local answer = cjson.encode({
  epoch = meta.epoch, settling = settling, leaves = some(leaves), scopes = some(told), wake = some(wake),
  news = some(news), warnings = some(warnings),
})
local set, gone, far = {}, {}, now + MEMORY
for i, scope in ipairs(scopes) do
  for _, window in ipairs(scope.windows) do coarsen(window) end
  scope.freed, scope.moved, scope.given_back = nil, nil, nil
  if is_empty(scope) then
    gone[#gone + 1] = fields[i + 2]
  else
    set[#set + 1] = fields[i + 2]
    set[#set + 1] = cmsgpack.pack(scope)
    far = max(far, lasts(scope))
  end
end
-- What is over is forgotten, a few fields at each call.
local scan = redis.call('HSCAN', KEY, meta.sweep, 'COUNT', SWEPT)
meta.sweep = scan[1]
local mentioned = {}
for _, field in ipairs(fields) do mentioned[field] = true end
for i = 1, min(#scan[2], 4 * SWEPT), 2 do
  local field = scan[2][i]
  if not mentioned[field] then
    local value = cmsgpack.unpack(scan[2][i + 1])
    if string.sub(field, 1, 2) == 'm:' then
      if value.at + MEMORY < now then gone[#gone + 1] = field end
    else
      forget(value)
      if is_empty(value) then gone[#gone + 1] = field end
    end
  end
end
meta.keep = max(meta.keep, far)
set[#set + 1] = 'meta'
set[#set + 1] = cmsgpack.pack(meta)
set[#set + 1] = fields[2]
set[#set + 1] = cmsgpack.pack({ seq = ask.seq, at = now, answer = answer })
redis.call('HSET', KEY, unpack(set))
if #gone > 0 then redis.call('HDEL', KEY, unpack(gone)) end
-- A fleet that rests for a day need not settle when it comes back.
redis.call('PEXPIRE', KEY, text(math.ceil((meta.keep - now) / 1000) + 86400000))
for _, member in ipairs(wake) do redis.call('PUBLISH', ARGV[3] .. member, 'ask') end
for _, one in ipairs(news) do redis.call('PUBLISH', ARGV[3] .. 'all', cjson.encode(one)) end
return answer
