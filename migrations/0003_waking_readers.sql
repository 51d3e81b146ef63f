-- How a writer wakes the readers of the journal, if they sleep.
--
-- Postgres lets transactions that notify commit one after another only, each with a flush
-- of the disk of its own. So a writer notifies ("rings") only while a reader sleeps. While
-- many write at once the readers stay awake, and look every millisecond.
--
-- A reader that sleeps holds an advisory lock, shared with the others that sleep. The lock
-- goes with its session, however that ends. A writer tries, after it wrote to the journal,
-- to have the lock for itself for a moment. If it gets it, nobody sleeps, and it need not
-- ring. Two writers that try at once ring though nobody sleeps, which does no harm.
--
-- Why no change is missed: whoever tries after a reader took the lock rings. Whoever tried
-- before had written to the journal, so it had a transaction id, below the next one of any
-- snapshot taken later. A reader takes the lock, then reads: so it sees what had ended by
-- then. It goes on looking by itself until all others below that id have ended too.

-- The two numbers of the lock are hashtext('space_events') and hashtext('asleep').
create function space_events.fall_asleep() returns boolean
    language sql
    as 'select pg_catalog.pg_try_advisory_lock_shared(959289095, -1684204852)';
comment on function space_events.fall_asleep() is 'From now on writers ring for this session; false: one of them is looking, try again.';

create function space_events.wake_up() returns boolean
    language sql
    as 'select pg_catalog.pg_advisory_unlock_shared(959289095, -1684204852)';
comment on function space_events.wake_up() is 'From now on writers need not ring for this session.';

-- Postgres puts a function of one expression, without settings of its own, in the place of
-- its call: so this one has no search_path, and names are qualified.
create function space_events.must_ring() returns boolean
    language sql
    as $$
    select case
        when pg_catalog.current_setting('space_events.wake', true) = 'poll' then false
        when pg_catalog.pg_try_advisory_lock(959289095, -1684204852)
            then not pg_catalog.pg_advisory_unlock(959289095, -1684204852)
        else true
    end
$$;
comment on function space_events.must_ring() is 'Whether a reader sleeps. Where space_events.wake is poll nobody is woken: a transaction that notified cannot be prepared.';

create function space_events.ring() returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
begin
    if space_events.must_ring() then
        notify space_events;
    end if;
end
$$;
comment on function space_events.ring() is 'Wakes the readers of the journal that sleep, at commit.';
