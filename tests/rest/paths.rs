//! Names in paths, paths that lead nowhere, methods that a path does not know.

use tokio_postgres::error::SqlState;

use super::{Server, answer, json_of};

#[tokio::test(flavor = "multi_thread")]
async fn names_may_be_anything() {
    let server = Server::start().await;
    for (name, path) in [
        ("a/b", "a%2Fb"),
        ("it's \"q\" `b` \\", "it's%20%22q%22%20%60b%60%20%5C"),
        ("💶 €", "%F0%9F%92%B6%20%E2%82%AC"),
        ("%41", "%2541"),
        (
            "'; drop table services; --",
            "'%3B%20drop%20table%20services%3B%20--",
        ),
        ("pricings", "pricings"),
    ] {
        server.create(name, name).await;
        let service = format!("/services/{path}");
        assert_eq!(server.get(&service).await["name"], name);
        assert_eq!(
            server.get(&format!("{service}/pricings/{path}")).await["version"],
            name
        );
    }
    let long = "x".repeat(5000);
    for name in [
        &long,
        "",
        " ",
        "\t",
        "nul\0",
        "a\nb",
        "a\tb",
        "bell\u{7}",
        "\u{7f}del",
        "\u{85}nel",
        "c1\u{9f}.",
        "\u{2028}line",
        "paragraph\u{2029}.",
    ] {
        for path in ["/services", "/services/pricings/pricings"] {
            assert_eq!(
                server.upload(path, name, "1").await.0,
                400,
                "{path} {name:.20?}"
            );
            assert_eq!(
                server.upload(path, "pricings", name).await.0,
                400,
                "{path} {name:.20?}"
            );
        }
        assert_eq!(
            server.rename("/services/pricings", name).await.0,
            400,
            "{name:.20?}"
        );
    }
    for body in [
        "",
        "[]",
        "null",
        r#"{"name":1}"#,
        r#"{"name":null}"#,
        r#"{"disabled":1}"#,
        r#"{"name":"\ud800"}"#,
    ] {
        assert_eq!(
            server.put("/services/pricings", body).await.0,
            400,
            "{body}"
        );
    }
    let unchanged = server.get("/services/pricings").await;
    for body in ["{}", r#"{"Name":"x","pricings":[]}"#] {
        assert_eq!(
            server.put("/services/pricings", body).await,
            (200, unchanged.clone()),
            "{body}"
        );
    }
    assert_eq!(server.put("/services/none", "{}").await.0, 404);
    assert_eq!(server.rename("/services/pricings", "A/B").await.0, 409);
    assert_eq!(server.rename("/services/pricings", "PRICINGS").await.0, 200);
    assert_eq!(server.rename("/services/none", "x").await.0, 404);
    assert_eq!(
        answer(server.request("PUT", "/services/pricings").body("name: x"))
            .await
            .0,
        415
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_database_refuses_control_characters_and_keeps_what_was_there() {
    let server = Server::start().await;
    let database = &server.database;
    database
        .sql(
            // As in a database whose rows are older than the constraint.
            r"create temp table constraints as
                select pg_get_constraintdef(oid) as definition from pg_constraint
                where conname = 'services_name_no_control';
            alter table services drop constraint services_name_no_control;
            insert into services (name) values (E'old\nname');
            do $$ begin
                execute format('alter table services add constraint services_name_no_control %s not valid',
                    (select definition from constraints));
            end $$",
        )
        .await;
    for refused in [
        r"insert into services (name) values (E'new\nname')",
        r"insert into services (name) values (E'bell\u0007')",
        r"insert into services (name) values (E'line\u2028')",
        r"insert into pricings (service_name, version) values (E'old\nname', E'2024\n1')",
        r"update services set disabled = true",
    ] {
        let error = database
            .session()
            .try_sql(refused)
            .await
            .expect_err(refused);
        assert_eq!(error.code(), Some(&SqlState::CHECK_VIOLATION), "{refused}");
    }
    assert_eq!(server.rename("/services/old%0Aname", "new").await.0, 200);
    assert_eq!(server.create("é €", "💶").await["name"], "é €");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_said_in_json() {
    let server = Server::start().await;
    server.create("a/b", "1").await;
    let long = "x".repeat(5000);
    for (method, path, status) in [
        ("GET", format!("/services/{long}").as_str(), 404),
        ("GET", &format!("/services/a%2Fb/pricings/{long}"), 404),
        ("GET", "/services/%00", 400),
        ("GET", "/services/a%2Fb/pricings/%00", 400),
        ("DELETE", "/services/x%00", 400),
        ("GET", "/services/%FF", 400),
        ("GET", "/services/%zz", 404),
        ("GET", "/services//pricings", 404),
        ("GET", "/nothing", 404),
        ("GET", "/healthcheck", 404),
        ("GET", "/api/v1", 404),
        ("GET", "/services/none/pricings", 404),
        ("GET", "/services/a%2Fb/pricings?pricingStatus=gone", 400),
        ("PUT", "/services/a%2Fb/pricings/1?availability=ACTIVE", 400),
        ("PUT", "/services/a%2Fb/pricings/2", 404),
        ("PUT", "/services/none/pricings/1", 404),
    ] {
        let (answered, body) = server.call(method, path).await;
        assert_eq!(answered, status, "{method} {path:.60}");
        let sentence = body["error"].as_str().expect("a sentence");
        assert_eq!(
            sentence.contains("not found"),
            status == 404,
            "{method} {path:.60}: {sentence:.60}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slash_at_the_end_makes_no_difference() {
    let server = Server::start().await;
    server.create("Zoom", "1").await;
    for path in [
        "/services",
        "/api/v1/services/Zoom",
        "/services/Zoom/pricings",
        "/services/Zoom/pricings/1",
    ] {
        let answer = server.get(path).await;
        assert_eq!(server.get(&format!("{path}/")).await, answer, "{path}");
    }
    assert_eq!(server.upload("/services/", "Zoom", "1").await.0, 409);
    for (method, path, status) in [
        ("GET", "/api/v1/events/?limit=1", 200),
        (
            "PUT",
            "/services/Zoom/pricings/1/?availability=archived",
            200,
        ),
        ("DELETE", "/services/Zoom/pricings/1/", 204),
        ("DELETE", "/api/v1/services/Zoom/", 204),
        ("GET", "/nothing/", 404),
    ] {
        assert_eq!(server.call(method, path).await.0, status, "{method} {path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_names_the_methods_that_it_knows() {
    let server = Server::start().await;
    server.create("Zoom", "1").await;
    for (method, path, allow) in [
        ("PATCH", "/services", "GET,HEAD,POST,DELETE"),
        ("POST", "/api/v1/services/Zoom", "GET,HEAD,PUT,DELETE"),
        ("BREW", "/services/Zoom/pricings", "GET,HEAD,POST"),
        ("DELETE", "/api/v1/healthcheck", "GET,HEAD"),
    ] {
        let response = server
            .request(method, path)
            .send()
            .await
            .expect("an answer");
        assert_eq!(response.headers()["allow"], allow, "{method} {path}");
        assert_eq!(json_of(response).await.0, 405, "{method} {path}");
    }
    for (path, status) in [("/services/Zoom", 200), ("/services/none", 404)] {
        let head = server
            .request("HEAD", path)
            .send()
            .await
            .expect("an answer");
        assert_eq!(head.status(), status, "{path}");
        assert_eq!(head.text().await.expect("no body"), "");
    }
}
