//! Whatever writes, and however: each change is heard by its organisation alone.

use tokio_postgres::error::SqlState;

use super::{heard_so_far, join_all, start};
use crate::support::Database;

/// A statement, and what each organisation hears of it.
type Case<'c> = (&'c str, [&'c [&'c str]; 3]);

async fn check(database: &Database, cases: &[Case<'_>]) {
    let app = start(database).await;
    let mut clients = join_all(app.address).await;
    for (sql, expected) in cases {
        database.sql(sql).await;
        let heard = heard_so_far(database.session(), &mut clients).await;
        assert_eq!(heard, expected.map(<[_]>::to_vec), "{sql}");
    }
    app.stop().await;
}

/// The services of the same name in all organisations, each with two pricings.
const FILL: Case<'_> = (
    "insert into services (organization, name) values ('', 'Zoom'), ('acme', 'Zoom'), ('Größe & Söhne', 'ZOOM');
    insert into pricings (organization, service_name, version)
        select s.organization, s.name, v || s.organization from services s, generate_series(1, 2) v order by v, s.id",
    [
        &["CREATED Zoom 1", "CREATED Zoom 2"],
        &["CREATED Zoom 1acme", "CREATED Zoom 2acme"],
        &["CREATED ZOOM 1Größe & Söhne", "CREATED ZOOM 2Größe & Söhne"],
    ],
);

#[tokio::test(flavor = "multi_thread")]
async fn each_change_is_heard_by_its_organization_alone() {
    let database = Database::create().await;
    check(
        &database,
        &[
            FILL,
            // Who names none writes for that of the setting, or for the default one.
            (
                "set space_events.organization = 'acme';
                insert into pricings (service_name, version) values ('Zoom', 'one');
                insert into pricings (service_name, version) values ('Zoom', 'x'), ('Zoom', 'y');
                insert into services (name) values ('Slack');
                reset space_events.organization",
                [&[], &["CREATED Zoom one", "CREATED Zoom x", "CREATED Zoom y"], &[]],
            ),
            ("insert into pricings (service_name, version) values ('Zoom', 'one')", [&["CREATED Zoom one"], &[], &[]]),
            // One row, and several.
            ("update pricings set availability = 'archived' where version = '1acme'", [&[], &["ARCHIVED Zoom 1acme"], &[]]),
            (
                "update pricings set availability = 'archived' where version = 'one'",
                [&["ARCHIVED Zoom one"], &["ARCHIVED Zoom one"], &[]],
            ),
            ("update pricings set version = 'two' where version = '1acme'", [&[], &["CREATED Zoom two"], &[]]),
            ("delete from pricings where version like '2_%'", [&[], &["ARCHIVED Zoom 2acme"], &["ARCHIVED ZOOM 2Größe & Söhne"]]),
            ("delete from pricings where version = '2'", [&["ARCHIVED Zoom 2"], &[], &[]]),
            // The state of the service that counts is that of its organisation.
            ("update services set disabled = true where organization = ''", [&["DISABLED Zoom"], &[], &[]]),
            (
                "insert into pricings (organization, service_name, version) values ('', 'Zoom', 'new'), ('acme', 'Zoom', 'new')",
                [&[], &["CREATED Zoom new"], &[]],
            ),
            ("update pricings set availability = 'archived' where version = 'new'", [&[], &["ARCHIVED Zoom new"], &[]]),
            ("delete from pricings where version = 'new'", [&[], &[], &[]]),
            ("update services set disabled = false where name = 'Zoom'", [&["ACTIVED Zoom 1"], &[], &[]]),
            (
                "update services set disabled = true",
                [&["DISABLED Zoom"], &["DISABLED Zoom", "DISABLED Slack"], &["DISABLED ZOOM"]],
            ),
            (
                "update services set disabled = false where organization <> ''",
                [&[], &["ACTIVED Zoom x", "ACTIVED Zoom y"], &["ACTIVED ZOOM 1Größe & Söhne"]],
            ),
            // Cascades, and TRUNCATE of each table.
            ("delete from services where organization = 'acme'", [&[], &["DISABLED Zoom", "DISABLED Slack"], &[]]),
            ("update services set disabled = false", [&["ACTIVED Zoom 1"], &[], &[]]),
            ("truncate pricings", [&["ARCHIVED Zoom 1"], &[], &["ARCHIVED ZOOM 1Größe & Söhne"]]),
            (
                "insert into pricings (organization, service_name, version) select organization, name, '3' from services",
                [&["CREATED Zoom 3"], &[], &["CREATED ZOOM 3"]],
            ),
            ("truncate services cascade", [&["DISABLED Zoom"], &[], &["DISABLED ZOOM"]]),
            FILL,
            ("truncate pricings, services", [&["DISABLED Zoom"], &["DISABLED Zoom"], &["DISABLED ZOOM"]]),
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_moves_is_gone_for_the_one_and_there_for_the_other() {
    let database = Database::create().await;
    check(
        &database,
        &[
            FILL,
            (
                "insert into services (organization, name) values ('acme', 'Slack');
                insert into pricings (organization, service_name, version, availability)
                    values ('acme', 'Slack', '1', 'active'), ('acme', 'Slack', '2', 'archived'), ('acme', 'Slack', '3', 'active')",
                [&[], &["CREATED Slack 1", "CREATED Slack 2", "CREATED Slack 3"], &[]],
            ),
            (
                "update services set organization = 'Größe & Söhne' where name = 'Slack'",
                [&[], &["DISABLED Slack"], &["ACTIVED Slack 1", "ACTIVED Slack 3"]],
            ),
            ("update pricings set availability = 'active' where version = '2'", [&[], &[], &["ACTIVED Slack 2"]]),
            // Each organisation hears the name that it knows.
            (
                "update services set organization = '', name = 'Slack 2' where name = 'Slack'",
                [&["ACTIVED Slack 2 1", "ACTIVED Slack 2 2", "ACTIVED Slack 2 3"], &[], &["DISABLED Slack"]],
            ),
            // With one pricing; several at once; and back within a transaction.
            ("delete from pricings where service_name = 'Slack 2' and version <> '2'", [&["ARCHIVED Slack 2 1", "ARCHIVED Slack 2 3"], &[], &[]]),
            (
                "update services set organization = 'acme' where name = 'Slack 2'",
                [&["DISABLED Slack 2"], &["ACTIVED Slack 2 2"], &[]],
            ),
            (
                "update services set organization = 'Größe & Söhne', name = name || '!' where organization = 'acme'",
                [&[], &["DISABLED Zoom", "DISABLED Slack 2"], &["ACTIVED Zoom! 1acme", "ACTIVED Zoom! 2acme", "ACTIVED Slack 2! 2"]],
            ),
            (
                "begin;
                update services set organization = 'acme' where name = 'Zoom!';
                update services set organization = 'Größe & Söhne' where name = 'Zoom!';
                commit",
                [&[], &["ACTIVED Zoom! 1acme", "ACTIVED Zoom! 2acme", "DISABLED Zoom!"], &["DISABLED Zoom!", "ACTIVED Zoom! 1acme", "ACTIVED Zoom! 2acme"]],
            ),
            ("begin; update services set organization = 'acme' where name = 'Zoom!'; rollback", [&[], &[], &[]]),
            // A disabled one is there for neither, unless it is enabled on the way.
            ("update services set organization = 'acme', disabled = true where name = 'Zoom!'", [&[], &[], &["DISABLED Zoom!"]]),
            ("update services set organization = 'Größe & Söhne' where name = 'Zoom!'", [&[], &[], &[]]),
            (
                "update services set organization = 'acme', disabled = false where name = 'Zoom!'",
                [&[], &["ACTIVED Zoom! 1acme", "ACTIVED Zoom! 2acme"], &[]],
            ),
            ("update services set organization = organization", [&[], &[], &[]]),
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_statement_triggers_rest_each_change_is_heard_by_its_organization_alone() {
    let database = Database::create().await;
    database.sql("set session_replication_role = replica").await;
    check(
        &database,
        &[
            FILL,
            (
                "update pricings set availability = 'archived' where version in ('1', '1acme')",
                [&["ARCHIVED Zoom 1"], &["ARCHIVED Zoom 1acme"], &[]],
            ),
            ("delete from pricings where version = '2'", [&["ARCHIVED Zoom 2"], &[], &[]]),
            ("update services set disabled = true where organization = 'acme'", [&[], &["DISABLED Zoom"], &[]]),
            ("update pricings set availability = 'active'", [&["ACTIVED Zoom 1"], &[], &[]]),
            ("update services set disabled = false", [&[], &["ACTIVED Zoom 1acme", "ACTIVED Zoom 2acme"], &[]]),
            // Foreign keys rest too: whoever replicates brings the pricings, after their
            // service or before.
            (
                "update services set organization = 'Größe & Söhne', name = 'Moved' where organization = 'acme' and name = 'Zoom'",
                [&[], &["DISABLED Zoom"], &["ACTIVED Moved 1acme", "ACTIVED Moved 2acme"]],
            ),
            (
                "update pricings set organization = 'Größe & Söhne', service_name = 'Moved' where organization = 'acme' and service_name = 'Zoom'",
                [&[], &[], &[]],
            ),
            (
                "update pricings set organization = 'acme' where service_name = 'Moved';
                update services set organization = 'acme' where name = 'Moved'",
                [&[], &["ACTIVED Moved 1acme", "ACTIVED Moved 2acme"], &["DISABLED Moved"]],
            ),
            (
                "truncate pricings",
                [&["ARCHIVED Zoom 1"], &["ARCHIVED Moved 1acme", "ARCHIVED Moved 2acme"], &["ARCHIVED ZOOM 1Größe & Söhne", "ARCHIVED ZOOM 2Größe & Söhne"]],
            ),
            ("delete from services where organization = 'acme'", [&[], &["DISABLED Moved"], &[]]),
            ("truncate services cascade", [&["DISABLED Zoom"], &[], &["DISABLED ZOOM"]]),
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_unique_within_an_organization_without_regard_to_case() {
    let database = Database::create().await;
    let app = start(&database).await;
    database
        .sql(
            "insert into services (organization, name) values ('', 'Zoom'), ('acme', 'ZOOM');
            insert into pricings (organization, service_name, version) values ('', 'Zoom', '1'), ('acme', 'ZOOM', '1')",
        )
        .await;
    for (refused, code) in [
        (
            "insert into services (organization, name) values ('acme', 'zoom')",
            SqlState::UNIQUE_VIOLATION,
        ),
        (
            "insert into services (name) values ('zoom')",
            SqlState::UNIQUE_VIOLATION,
        ),
        (
            "update services set organization = ''",
            SqlState::UNIQUE_VIOLATION,
        ),
        (
            "insert into pricings (service_name, version) values ('Zoom', '1')",
            SqlState::UNIQUE_VIOLATION,
        ),
        (
            "insert into pricings (service_name, version) values ('ZOOM', '2')",
            SqlState::FOREIGN_KEY_VIOLATION,
        ),
        (
            "update pricings set organization = 'bolt'",
            SqlState::FOREIGN_KEY_VIOLATION,
        ),
        (
            "insert into services (organization, name) values (E'a\\nb', 'Zoom')",
            SqlState::CHECK_VIOLATION,
        ),
        (
            "insert into services (organization, name) values (repeat('x', 256), 'Zoom')",
            SqlState::CHECK_VIOLATION,
        ),
        (
            "insert into services (organization, name) values (null, 'Zoom')",
            SqlState::NOT_NULL_VIOLATION,
        ),
    ] {
        let error = database
            .session()
            .try_sql(refused)
            .await
            .expect_err(refused);
        assert_eq!(error.code(), Some(&code), "{refused}");
    }
    app.stop().await;
}
