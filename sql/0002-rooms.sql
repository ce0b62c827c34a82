-- Rooms as event DAGs. Events and rooms have compact integers (nids) for joins and packed state; an
-- event's JSON is kept as text, byte for byte what was signed. Room state is a chain of snapshots.

create table rooms (
  nid                 bigint primary key,
  room_id             text not null unique,
  room_version        text not null,
  creator             text not null,
  -- Grows by one with each event that moves the head; whoever writes names the version it built on.
  head_version        bigint not null,
  forward_extremities bigint[] not null,
  snapshot_nid        bigint not null, -- current state
  depth               bigint not null, -- greatest depth of the forward extremities
  is_published        boolean not null default false, -- in the room directory
  created_ts          bigint not null
) with (fillfactor = 70);
create index rooms_published on rooms (nid) where is_published;

create table events (
  nid              bigint primary key,
  event_id         text not null unique,
  room_nid         bigint not null,
  -- When it entered the stream; null for an outlier and for history fetched later.
  position         bigint,
  -- Its place in the room's timeline: (its position, 0), or for history fetched later a negative
  -- offset before the event that stood after the gap.
  order_position   bigint,
  order_offset     bigint not null default 0,
  type             text not null,
  state_key        text,
  sender           text not null,
  origin_server_ts bigint not null,
  depth            bigint not null,
  -- State before and after it: snapshots. Null for outliers.
  snapshot_before  bigint,
  snapshot_after   bigint,
  relates_to       text,
  rel_type         text,
  contains_url     boolean not null default false,
  -- Why it takes no part: it was rejected by the auth rules, or soft-failed.
  rejected         text,
  soft_failed      boolean not null default false,
  -- The redaction that applies to it. Its JSON is kept as it was; reads redact it.
  redacted_by      text,
  json             text not null
);
create index events_timeline on events (room_nid, order_position, order_offset)
  where order_position is not null;
create index events_position on events (position) where position is not null;
create index events_relations on events (relates_to, order_position, order_offset)
  where relates_to is not null;
create index events_time on events (room_nid, origin_server_ts);
create index events_threads on events (room_nid, rel_type, order_position)
  where rel_type = 'm.thread';

-- prev_events, for walking the DAG and for finding what is missing. Local sends write them in the JSON
-- only; this table holds edges whose target was unknown when the event came.
create table missing_events (
  event_id   text not null, -- the unknown event
  needed_by  bigint not null,
  room_nid   bigint not null,
  primary key (event_id, needed_by)
);

create table state_keys (
  nid       integer generated always as identity primary key,
  type      text not null,
  state_key text not null,
  unique (type, state_key)
);

-- A snapshot of room state: packed pairs (state key nid, event nid), a delta on its parent or full.
create table snapshots (
  nid          bigint primary key,
  room_nid     bigint not null,
  parent_nid   bigint, -- null: the pairs are the whole state
  chain_length integer not null, -- deltas down to the full one
  pairs        bytea not null
);
alter table snapshots alter column pairs set storage external;

-- Current state but for memberships.
create table current_state (
  room_nid  bigint not null,
  type      text not null,
  state_key text not null,
  event_nid bigint not null,
  primary key (room_nid, type, state_key)
);

-- Current memberships. A row for an invite or a knock may belong to a room we are not in.
create table memberships (
  room_nid    bigint not null,
  user_id     text not null,
  membership  text not null,
  event_nid   bigint not null,
  sender      text not null,
  is_local    boolean not null,
  -- Stream position of the change of membership (not of a mere change of profile).
  since       bigint not null,
  position    bigint not null,
  forgotten   boolean not null default false,
  primary key (room_nid, user_id)
);
create index memberships_user on memberships (user_id, membership);
create index memberships_local on memberships (room_nid, user_id) where is_local;
create index memberships_joined on memberships (room_nid, position) where membership = 'join';

-- What a client's transaction ID gave: https://spec.matrix.org/v1.19/client-server-api/#transaction-identifiers
create table transactions (
  user_id    text not null,
  device_id  text not null,
  scope      text not null, -- endpoint, room and event type: what the ID is unique within
  txn_id     text not null,
  event_id   text not null,
  created_ts bigint not null,
  primary key (user_id, device_id, scope, txn_id)
);
create index transactions_event on transactions (event_id);
create index transactions_created on transactions (created_ts);

-- A member's history in a room: when they came and went.
create index events_members on events (room_nid, state_key, order_position, order_offset)
  where type = 'm.room.member' and order_position is not null;

-- Local aliases: https://spec.matrix.org/v1.19/client-server-api/#room-aliases
create table room_aliases (
  alias      text primary key,
  room_id    text not null,
  creator    text not null,
  created_ts bigint not null
);
create index room_aliases_room on room_aliases (room_id);
