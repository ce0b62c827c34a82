-- The stream: one order for everything that a client, a remote server, an application service or a
-- pusher may have to hear about. The row of stream_head is locked until commit, so positions have no
-- gaps and become visible in order, whatever process writes. An entry points at its effect, which is
-- in a table of its own and was written in the same transaction.

create table stream_head (
  only_row boolean primary key default true check (only_row),
  -- Changes when the stream was restored or lost its tail, so that old sync tokens are recognised.
  epoch    bigint not null,
  position bigint not null
) with (fillfactor = 10); -- updated at every commit: room for heap-only updates
insert into stream_head (epoch, position)
  values (floor(extract(epoch from clock_timestamp()) * 1000)::bigint, 0);

create table stream (
  position  bigint primary key,
  kind      text not null,
  room_id   text,
  user_id   text,
  device_id text,
  event_nid bigint,
  data      text -- JSON, where the entry carries its value itself
);

-- What a consumer of the stream has done. `fence` grows with each new holder of its lease.
create table stream_cursors (
  consumer text primary key,
  position bigint not null
);

-- Blocks of compact integers (nids) that a process takes before it writes.
create sequence nids increment by 1000 start with 1000;

-- Fails the statement that calls it, and with it the batch, when what it wrote is not what it meant
-- to write: another process was there first.
create function expect(written bigint, meant bigint, what text) returns boolean
language plpgsql as $$
begin
  if written is distinct from meant then
    raise exception 'conflict: %', what using errcode = 'GM001';
  end if;
  return true;
end $$;
