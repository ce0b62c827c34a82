-- Media: files that users uploaded, and those of other servers that were fetched for them. A row here
-- is the truth; the bytes are an object in the blob store under a random key that no other row has.
--
-- Object and row cannot be written in one step. An object is therefore announced in doomed_blobs
-- before its first byte is written, and leaves that table in the transaction that makes a row point at
-- it; a removed row puts it back. What stays there until its time is garbage, whoever died when.

create table media (
  server_name text not null,
  media_id    text not null,
  user_id     text, -- who uploaded it; null where it came from another server
  created_ts  bigint not null,
  -- Until when it may be uploaded, where it was created without its content.
  expires_ts  bigint,
  -- From here on null until its content is there.
  uploaded_ts  bigint,
  blob_key     text,
  content_type text,
  file_name    text,
  size_bytes   bigint,
  sha256       bytea,
  -- Came after unauthenticated access was frozen.
  needs_authentication boolean not null,
  last_access_ts bigint not null, -- to the day
  quarantined_by text, -- who withdrew it from everybody
  -- What it shows, where it is an image: known once a thumbnail was asked for; '' where it is none.
  image_kind   text,
  image_width  integer,
  image_height integer,
  image_pages  integer,
  primary key (server_name, media_id)
);
create index media_user on media (user_id, created_ts) where user_id is not null;
create index media_pending on media (user_id, expires_ts) where uploaded_ts is null;
create index media_remote_access on media (last_access_ts) where user_id is null;

-- Thumbnails that were made, by what was asked for after rounding up.
create table media_thumbnails (
  server_name  text not null,
  media_id     text not null,
  width        integer not null,
  height       integer not null,
  method       text not null,
  is_animated  boolean not null,
  blob_key     text not null,
  content_type text not null,
  size_bytes   bigint not null,
  sha256       bytea not null,
  primary key (server_name, media_id, width, height, method, is_animated),
  foreign key (server_name, media_id) references media on delete cascade
);

-- Objects that no row points at: being written, or to be removed.
create table doomed_blobs (
  blob_key   text primary key,
  due_ts     bigint not null, -- when it is garbage, if it is still here
  is_claimed boolean not null default false -- being removed: no row may point at it any more
);
create index doomed_blobs_due on doomed_blobs (due_ts);
