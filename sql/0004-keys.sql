-- End-to-end encryption, as far as a server has a part in it: public keys and their signatures, keys
-- that are given out once, messages to devices, and encrypted backups of room keys. All that clients
-- sign is kept as canonical JSON in text, so that two uploads are the same when their texts are.

create table device_keys (
  user_id   text not null,
  device_id text not null,
  json      text not null,
  primary key (user_id, device_id)
);

-- A one-time key leaves this table in the transaction that gives it out.
create table one_time_keys (
  user_id   text not null,
  device_id text not null,
  algorithm text not null,
  key_id    text not null,
  position  bigint not null, -- of the upload: the oldest goes first
  json      text not null,
  primary key (user_id, device_id, algorithm, key_id)
);
create index one_time_keys_order on one_time_keys (user_id, device_id, algorithm, position, key_id);

-- One-time keys that were given out lately. A device that did not hear that an upload succeeded uploads
-- the same keys again; what was given out by then must not come back.
create table spent_one_time_keys (
  user_id   text not null,
  device_id text not null,
  algorithm text not null,
  key_id    text not null,
  position  bigint not null,
  json_hash bytea not null,
  primary key (user_id, device_id, algorithm, key_id, json_hash)
);

create table fallback_keys (
  user_id   text not null,
  device_id text not null,
  algorithm text not null,
  key_id    text not null,
  is_used   boolean not null,
  json      text not null,
  primary key (user_id, device_id, algorithm)
);

create table cross_signing_keys (
  user_id    text not null,
  usage      text not null, -- master, self_signing, user_signing
  public_key text not null,
  json       text not null,
  primary key (user_id, usage)
);

-- Signatures that came after the key that they are on. All of them were good when they came.
create table key_signatures (
  user_id        text not null, -- whose key is signed
  key_id         text not null, -- the device ID, or the public cross-signing key
  signer_user_id text not null,
  signer_key_id  text not null, -- ed25519:DEVICE or ed25519:PUBLIC+KEY
  signature      text not null,
  position       bigint not null,
  primary key (user_id, key_id, signer_user_id, signer_key_id)
);
create index key_signatures_signer on key_signatures (signer_user_id, position);

-- When a user's device list changed last.
create table device_list_changes (
  user_id  text primary key,
  position bigint not null
);
create index device_list_changes_position on device_list_changes (position);

-- Who came and went in a room: for devices that were away for long.
create index memberships_since on memberships (room_nid, since);

-- Messages to devices of ours: they stay until the device says that it has them.
create table to_device (
  user_id   text not null,
  device_id text not null,
  position  bigint not null,
  bytes     integer not null,
  json      text not null,
  primary key (user_id, device_id, position)
);

-- How much waits for a device, so that the bound needs no count.
create table to_device_queues (
  user_id   text not null,
  device_id text not null,
  bytes     bigint not null,
  primary key (user_id, device_id)
);

create table to_device_transactions (
  user_id    text not null,
  device_id  text not null,
  type       text not null,
  txn_id     text not null,
  created_ts bigint not null,
  primary key (user_id, device_id, type, txn_id)
);
create index to_device_transactions_created on to_device_transactions (created_ts);

-- A deleted backup keeps its row, so that its version is never used again.
create table key_backups (
  user_id    text not null,
  version    bigint not null,
  algorithm  text not null,
  auth_data  text not null,
  etag       bigint not null default 0, -- grows with each change of the keys
  key_count  bigint not null default 0,
  is_deleted boolean not null default false,
  primary key (user_id, version)
);

create table key_backup_keys (
  user_id             text not null,
  version             bigint not null,
  room_id             text not null,
  session_id          text not null,
  first_message_index bigint not null,
  forwarded_count     bigint not null,
  is_verified         boolean not null,
  session_data        text not null,
  primary key (user_id, version, room_id, session_id)
);
