-- What /sync counts and orders: the members of a room by membership and by when they came, so that a
-- summary reads only as many rows as it shows and counts from an index.

create index memberships_summary on memberships (room_nid, membership, since);

-- The stripped state that came with an invite to, or an answer to a knock on, a room we are not in:
-- as it was received, since it is no part of the event. It is read through a shape that takes
-- nothing for granted.
create table stripped_states (
  event_nid bigint primary key, -- the member event that it came with
  json      text not null
);
