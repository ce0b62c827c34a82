-- Accounts: users of ours, their devices and what proves who they are. Of every secret only a hash
-- is kept, so that whoever reads a backup can log in as nobody. The row of an account is never deleted, since
-- a user ID must never be given to somebody else.

create table accounts (
  user_id        text primary key,
  created_ts     bigint not null,
  password_hash  text, -- null: no password opens the account
  is_admin       boolean not null default false,
  is_guest       boolean not null default false,
  is_locked      boolean not null default false,
  is_suspended   boolean not null default false,
  is_deactivated boolean not null default false,
  is_erased      boolean not null default false,
  is_leaving     boolean not null default false -- deactivated, but perhaps not yet out of all rooms
);
create index accounts_created on accounts (created_ts, user_id);
create index accounts_leaving on accounts (user_id) where is_leaving;

-- The policy documents that a user agreed to.
create table policy_agreements (
  user_id   text not null,
  policy_id text not null,
  version   text not null,
  agreed_ts bigint not null,
  primary key (user_id, policy_id, version)
);

create table devices (
  user_id              text not null,
  device_id            text not null,
  display_name         text,
  created_ts           bigint not null,
  last_seen_ts         bigint,
  last_seen_ip         text,
  last_seen_user_agent text,
  primary key (user_id, device_id)
);

-- A refresh token is replaced at each use; the old one stays until the new pair was used, in case the
-- answer got lost. All tokens of one login are a family, which all of them name: a token whose family
-- exists, but which itself does not, was used before, and then the whole family is void.
create table refresh_tokens (
  id          bigint generated always as identity primary key,
  token_hash  bytea not null unique,
  family_hash bytea not null,
  user_id     text not null,
  device_id   text not null,
  replaces_id bigint
);
create index refresh_tokens_family on refresh_tokens (family_hash);
create index refresh_tokens_device on refresh_tokens (user_id, device_id);
create index refresh_tokens_replaces on refresh_tokens (replaces_id) where replaces_id is not null;

create table access_tokens (
  id         bigint generated always as identity primary key,
  token_hash bytea not null unique,
  user_id    text not null,
  device_id  text not null,
  created_ts bigint not null,
  expires_ts bigint, -- null: never
  refresh_id bigint  -- the refresh token that was given together with it
);
create index access_tokens_device on access_tokens (user_id, device_id);
create index access_tokens_refresh on access_tokens (refresh_id) where refresh_id is not null;

-- Tokens that are good for one login: https://spec.matrix.org/v1.19/client-server-api/#token-based-user-login
create table login_tokens (
  token_hash bytea primary key,
  user_id    text not null,
  expires_ts bigint not null
);
create index login_tokens_user on login_tokens (user_id);
create index login_tokens_expires on login_tokens (expires_ts);

-- Tokens that prove to third parties who a user is: https://spec.matrix.org/v1.19/client-server-api/#openid
create table openid_tokens (
  token_hash bytea primary key,
  user_id    text not null,
  expires_ts bigint not null
);
create index openid_tokens_user on openid_tokens (user_id);
create index openid_tokens_expires on openid_tokens (expires_ts);

-- Tokens with which accounts can be made. Administrators read them out to people, so they are kept as
-- they are. `completed` grows in the transaction that makes the account.
create table registration_tokens (
  token        text primary key,
  uses_allowed bigint, -- null: any number
  completed    bigint not null default 0,
  created_ts   bigint not null,
  expires_ts   bigint
);

-- User-Interactive Authentication under way: https://spec.matrix.org/v1.19/client-server-api/#user-interactive-authentication-api
create table uia_sessions (
  session_hash bytea primary key,
  operation    text not null, -- the method and path that it is for
  user_id      text,
  flows        text not null, -- JSON: the ways to authenticate, each a list of stages
  -- A MAC of the request, keyed with the session's ID, which is not stored: the request may hold a password.
  request_mac  bytea,
  kept         text, -- JSON: what is needed of the request to finish it, without secrets
  completed    text not null, -- JSON: the stages that are done, with what they proved
  expires_ts   bigint not null
);
create index uia_sessions_expires on uia_sessions (expires_ts);
create index uia_sessions_user on uia_sessions (user_id) where user_id is not null;

-- Nonces of the registration with a shared secret that were used, until they would have expired.
create table registration_nonces (
  nonce_hash bytea primary key,
  expires_ts bigint not null
);
create index registration_nonces_expires on registration_nonces (expires_ts);

-- One row a profile field: https://spec.matrix.org/v1.19/client-server-api/#profiles
create table profiles (
  user_id  text not null,
  field    text not null,
  value    text not null, -- JSON
  position bigint not null,
  primary key (user_id, field)
);
create index profiles_position on profiles (position);

-- Changes of names that perhaps have not reached the member events of all rooms yet.
create table profile_updates (
  user_id  text primary key,
  position bigint not null
);

-- One JSON object a user, room and type: https://spec.matrix.org/v1.19/client-server-api/#client-config
create table account_data (
  user_id  text not null,
  room_id  text not null, -- '' where it belongs to no room
  type     text not null,
  content  text not null, -- JSON
  position bigint not null,
  primary key (user_id, room_id, type)
);
create index account_data_position on account_data (user_id, position);

-- A filter's ID is made of its definition, so that uploading it again adds nothing.
create table filters (
  user_id    text not null,
  filter_id  text not null,
  definition text not null, -- JSON
  primary key (user_id, filter_id)
);
