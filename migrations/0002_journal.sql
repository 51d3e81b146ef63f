-- The journal of row changes: what was changed, which journal it is, and how far back it
-- goes.
--
-- Triggers insert one row per changed row in the writer's own transaction, so a change
-- that is rolled back leaves no trace. NOTIFY only wakes readers. The journal is the truth:
-- a reader that missed a notification still finds the rows.

-- Only the triggers write here, so `relation` has no check, which would cost as much as an
-- index.
create table space_events.row_changes (
    id bigint generated always as identity constraint row_changes_pkey primary key,
    xid xid8 not null default pg_current_xact_id(),
    changed_at timestamptz not null default clock_timestamp(),
    relation text not null,
    service_name text not null,
    version_before text,
    version_after text,
    availability_before text,
    availability_after text,
    disabled_before boolean,
    disabled_after boolean,
    organization text not null default ''
)
with (
    -- The oldest rows are removed all the time. Vacuum should not wait until a fifth of
    -- the table is dead.
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_threshold = 5000
);

-- A reader looks for the rows of each transaction that was in progress, a page at a time,
-- in the order of their ids.
create index row_changes_xid_id_idx on space_events.row_changes (xid, id);

comment on table space_events.row_changes is 'The journal: one row per changed row of services and pricings, written in the writer''s transaction.';
comment on column space_events.row_changes.id is 'Rises in commit order for one row; becomes visible in any order.';
comment on column space_events.row_changes.xid is 'The writing transaction; a position tells by it what has been seen.';
comment on column space_events.row_changes.changed_at is 'When the trigger ran.';
comment on column space_events.row_changes.relation is 'The table that changed: services or pricings.';
comment on column space_events.row_changes.service_name is 'The service as it was called then.';
comment on column space_events.row_changes.version_before is 'The version before; null if the pricing was not there.';
comment on column space_events.row_changes.version_after is 'The version after; null if the pricing is gone.';
comment on column space_events.row_changes.disabled_before is 'Whether the service was disabled before the change; null if it was not there.';
comment on column space_events.row_changes.disabled_after is 'Whether the service is disabled after the change; null if it is gone.';
comment on column space_events.row_changes.organization is 'Whose service it was; nobody else hears of it.';

-- Which journal this is. A dump that is restored elsewhere brings rows whose transaction
-- ids mean nothing there. So positions carry the identity of their journal, and any other
-- journal refuses them. They are signed with the key, so a text that is no position of this
-- journal is refused without a read. What notifications tell is signed with it too.
--
-- A journal can go back: after a failover to a standby that lagged, a restored backup, or a
-- crash that lost asynchronous commits, its newest rows are gone and their ids are given
-- out again. So a position names a few of the newest rows that it has seen, with their
-- transactions and times. It is valid while these rows are there, or were pruned. For this
-- check the newest of the pruned rows is kept here.
create table space_events.journal (
    singleton boolean constraint journal_pkey primary key default true,
    identity bigint not null,
    system_identifier bigint not null,
    database_oid oid not null,
    pruned_snapshot pg_snapshot,
    pruned_max_id bigint not null default 0,
    key bytea not null
        default sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())),
    pruned_xid xid8,
    pruned_changed_at timestamptz,
    constraint journal_singleton check (singleton),
    constraint journal_key_length check (octet_length(key) = 32)
);
comment on table space_events.journal is 'One row: which journal row_changes is, and in which cluster and database it was written.';
comment on column space_events.journal.identity is 'Random; a position of another journal is refused by it.';
comment on column space_events.journal.pruned_snapshot is 'What this saw, up to pruned_max_id, may be gone; null: nothing was removed yet. It sees no more than the newest row that went.';
comment on column space_events.journal.key is 'Random; signs positions and what notifications tell. A journal that was copied gets another.';
comment on column space_events.journal.pruned_xid is 'The transaction of the row pruned_max_id; null: not known.';
comment on column space_events.journal.pruned_changed_at is 'When the row pruned_max_id changed; null: not known.';
insert into space_events.journal (identity, system_identifier, database_oid)
    select
        ('x' || encode(uuid_send(gen_random_uuid()), 'hex'))::bit(63)::bigint,
        (select system_identifier from pg_control_system()),
        (select oid from pg_database where datname = current_database());

-- The time for which a row is kept counts from its commit, not from when it was written. So
-- a row of a transaction that stayed open for days goes when its commit is old enough. A
-- mark is a place in the journal and the time when it was the newest place. Of the marks
-- that are older than the retention, the newest decides: the rows that it has seen may go.
-- A reader that has not seen all of these rows is told so.
create table space_events.marks (
    taken_at timestamptz not null default now(),
    snapshot pg_snapshot not null default pg_current_snapshot(),
    max_id bigint not null,
    constraint marks_pkey primary key (taken_at)
);
comment on table space_events.marks is 'Places in the journal, and when they were now.';
