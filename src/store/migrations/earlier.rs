//! The migrations of the builds from before 0.1.0, which the present ones replace.
//!
//! A database that has them all has the tables that the present ones make. A few of its
//! functions have other names or are not needed any more. So it is not migrated: those
//! functions are renamed, replaced or dropped, its triggers are made anew, and its list
//! becomes that of the present migrations.

use anyhow::ensure;

use super::list::Applied;

/// What the comment on the list says before the numbers.
const COMMENT: &str = "The migrations that were applied: ";

/// Their numbers, and the first bytes of their checksums.
const EARLIER: [(i64, u64); 18] = [
    (1, 0x3bb2_86da_4e8c_75e0),
    (2, 0xb431_1782_e9f4_359e),
    (3, 0xbfa9_6924_882d_c0d3),
    (4, 0x2969_bd03_5952_9fc8),
    (5, 0xa505_e1e7_67dc_2a3b),
    (6, 0xad2b_e839_c9be_52a8),
    (7, 0x1be7_05a8_c103_7c58),
    (15, 0x2ff2_f865_e03b_af2b),
    (16, 0x3c53_0cfd_25ff_b00d),
    (17, 0xb70e_1ec1_e09a_c9f3),
    (18, 0xc48a_953c_c7b9_0e22),
    (19, 0x2df0_603e_6144_3738),
    (20, 0x4aa5_2cad_f043_03d6),
    (21, 0x7a9c_021c_2c80_6dab),
    (22, 0x52f0_f45a_c4cd_1b3b),
    (23, 0xd60f_51dd_fcf2_888b),
    (24, 0x26ed_2772_c482_023f),
    (25, 0x1cef_40db_fc55_3cde),
];

/// The last of the migrations that take their place; later ones are applied.
pub(super) const REPLACED_BY: i64 = 7;

/// Those of them that make functions and triggers. They only create or replace functions, so
/// they are run over what [`LEAVE`] leaves.
pub(super) const RUN_AGAIN: [i64; 3] = [3, 4, 5];

/// Takes away what the present migrations do not make, and empties the list.
///
/// It first waits until nobody writes to the two tables. The triggers call functions by their
/// names, so a writer in the middle of one would not find a function that is renamed. Such a
/// writer may still lock a service, so it is not waited for in a circle. To drop triggers
/// takes more than that lock. Somebody who has read a table may wait to write to it, so this
/// second wait is short.
pub(super) const LEAVE: &str = "
    lock table public.services, public.pricings in share mode;
    set local lock_timeout = '50ms';
    lock table public.services, public.pricings in access exclusive mode;
    do $$
    declare
        one record;
    begin
        for one in
            select t.tgname, t.tgrelid::regclass as tgrelid
            from pg_trigger t
            join pg_proc p on p.oid = t.tgfoid
            where t.tgrelid in ('public.services'::regclass, 'public.pricings'::regclass)
            and p.pronamespace = 'space_events'::regnamespace
        loop
            execute format('drop trigger %I on %s', one.tgname, one.tgrelid);
        end loop;
    end
    $$;
    drop function space_events.record_pricings();
    alter function space_events.must_ring() rename to must_notify;
    alter function space_events.ring() rename to notify_readers;
    alter function space_events.hold_service() rename to lock_service;
    drop view if exists space_events.capture;
    drop function if exists space_events.change_availability(text, text, text);
    create or replace function space_events.needs_migration() returns bigint
        language sql immutable parallel safe
        as 'select 1::bigint';
    comment on column space_events.journal.key is 'Random; signs positions and what notifications tell. A journal that was copied gets another.';
    delete from space_events.migrations";

/// Whether all of them were applied.
///
/// # Errors
///
/// A part of them was.
pub(super) fn are_applied(applied: &Applied, comment: Option<&str>) -> anyhow::Result<bool> {
    let has = |(version, start): &(i64, u64), or_unknown: bool| {
        applied.get(version).is_some_and(|checksum| {
            checksum.starts_with(&start.to_be_bytes()) || or_unknown && checksum.is_empty()
        })
    };
    if applied.len() == EARLIER.len() && EARLIER.iter().all(|one| has(one, true)) {
        return Ok(true);
    }
    let is_theirs = comment.is_some_and(|comment| comment.starts_with(COMMENT))
        || EARLIER.iter().any(|one| has(one, false));
    ensure!(
        !is_theirs,
        "the database was made by a build from before 0.1.0, and its list of migrations is not \
         complete up to 25, the last of those builds: run `space-events migrate` of a build \
         that has migration 25, then start this one"
    );
    Ok(false)
}
