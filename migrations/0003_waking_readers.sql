-- How a writer wakes the readers of the journal, if one of them sleeps.
--
-- Postgres lets transactions that notify commit only one after another, each with its own
-- flush to disk. So a writer notifies only while a reader sleeps. While many write at once,
-- the readers stay awake instead and read every two milliseconds.
--
-- A reader that sleeps holds an advisory lock, which it shares with the others that sleep.
-- The lock ends with its session, however that ends. After a writer has written to the
-- journal, it tries to take this lock for itself alone, and lets it go at once. If it got
-- the lock, nobody sleeps, and it need not notify. Of two writers that try at the same
-- moment one may notify although nobody sleeps, which does no harm.
--
-- Why no change is missed: a writer that tries after a reader has taken the lock notifies.
-- A writer that tried before had already written to the journal, so its transaction id is
-- below the next one of any snapshot that is taken later. A reader takes the lock, then
-- reads, so it sees every such transaction that has ended by then. It goes on reading
-- unasked until all the others below that id have ended too.
--
-- What is made here and in the next two migrations is also put over what builds from before
-- 0.1.0 made. So functions are created or replaced.

-- The two numbers of the lock are hashtext('space_events') and hashtext('asleep').
create or replace function space_events.fall_asleep() returns boolean
    language sql
    as 'select pg_catalog.pg_try_advisory_lock_shared(959289095, -1684204852)';
comment on function space_events.fall_asleep() is 'From now on writers notify this session; false: a writer is just looking, so try again.';

create or replace function space_events.wake_up() returns boolean
    language sql
    as 'select pg_catalog.pg_advisory_unlock_shared(959289095, -1684204852)';
comment on function space_events.wake_up() is 'From now on writers need not notify this session.';

-- Postgres puts a function of one expression, without settings of its own, in the place of
-- its call. So this one has no search_path, and its names and operators are qualified.
create or replace function space_events.must_notify() returns boolean
    language sql
    as $$
    select case
        when pg_catalog.pg_try_advisory_lock(959289095, -1684204852)
            then not pg_catalog.pg_advisory_unlock(959289095, -1684204852)
        else (pg_catalog.current_setting('space_events.wake', true) operator(pg_catalog.=) 'poll') is not true
    end
$$;
comment on function space_events.must_notify() is 'Whether this transaction has to notify: if a reader sleeps, unless space_events.wake is poll. A transaction that has notified cannot be prepared.';

create or replace function space_events.notify_readers() returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
begin
    if space_events.must_notify() then
        notify space_events;
    end if;
end
$$;
comment on function space_events.notify_readers() is 'Wakes the readers of the journal at commit, if one of them sleeps.';
