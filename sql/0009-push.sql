-- Push: what users changed of their push rules, and what they were notified about.
--
-- A notification is a row for a user and an event that notified. Unread counts are counts of rows
-- that are not read; they never look at events, and an index holds the unread rows only. Reading sets
-- the mark, so that the rows also serve GET /notifications; read rows go when they are old.

create table push_rules (
  user_id  text primary key,
  rules    text not null, -- JSON: the user's own rules, and what was set of server-default ones
  position bigint not null -- in the stream, when they last changed
);

create table notifications (
  user_id   text not null,
  position  bigint not null, -- of the event, in the stream; it is also the event's place in its room
  room_nid  bigint not null,
  thread_id text not null, -- main, or a thread root
  highlight boolean not null,
  is_read   boolean not null,
  actions   text not null, -- JSON: of the rule that matched
  ts        bigint not null,
  primary key (user_id, position)
);
create index notifications_unread on notifications (user_id, room_nid, position) where not is_read;
-- Rows come in the order of time, so that this costs next to nothing; it serves their removal.
create index notifications_time on notifications using brin (ts) with (autosummarize = on);
