-- Positions that are checked, and that nobody can make up.
--
-- A journal can go back: after a failover to a standby that lagged, a restored
-- backup, or a crash that lost asynchronous commits, its newest rows are gone and
-- their ids are given out again. So a position names a few of the newest rows that
-- it has seen, with their transactions and times, and is good while they are there
-- or were pruned. Of the pruned rows the newest is kept for this check.
--
-- Positions are signed with a key, so a text that was not given out costs no read.

alter table space_events.journal
    add column key bytea not null
        default sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())),
    add column pruned_xid xid8,
    add column pruned_changed_at timestamptz,
    add constraint journal_key_length check (octet_length(key) = 32);
comment on column space_events.journal.key is 'Random; signs positions. A journal that was copied gets another.';
comment on column space_events.journal.pruned_xid is 'The transaction of the row pruned_max_id; null: not known.';
comment on column space_events.journal.pruned_changed_at is 'When the row pruned_max_id changed; null: not known.';
