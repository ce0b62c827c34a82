-- Receipts: how far each user has read a room, once for each type and thread. A receipt only ever
-- moves forward in the room's timeline, so its event's place there is kept with it.

create table receipts (
  room_nid       bigint not null,
  user_id        text not null,
  type           text not null, -- m.read or m.read.private
  thread_id      text not null, -- main, or a thread root; empty: unthreaded
  event_id       text not null,
  order_position bigint not null,
  order_offset   bigint not null,
  ts             bigint not null,
  position       bigint not null, -- in the stream, when it last moved
  primary key (room_nid, user_id, type, thread_id)
);
create index receipts_changed on receipts (room_nid, position);
