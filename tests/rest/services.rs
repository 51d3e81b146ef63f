//! What the calls do, and what they announce.

use serde_json::json;

use super::{Server, answer, versions};

#[tokio::test(flavor = "multi_thread")]
async fn a_service_lives_from_upload_to_prune() {
    let server = Server::start().await;
    let mut client = server.join().await;
    let service = server.create("WireMock", "2024").await;
    assert!(service["id"].is_i64());
    assert_eq!(service["name"], "WireMock");
    assert_eq!(service["disabled"], false);
    assert!(service["activePricings"]["2024"]["id"].is_i64());
    assert_eq!(service.get("archivedPricings"), None);
    let created_at = service["createdAt"].as_str().expect("a time");
    assert!(
        created_at.len() == 24 && created_at.ends_with('Z'),
        "{created_at}"
    );

    assert_eq!(
        server
            .upload("/api/v1/services/wiremock/pricings", "WIREMOCK", "2025")
            .await
            .0,
        201
    );
    let exists = json!({"error": "conflict: pricing `2025` already exists"});
    assert_eq!(
        server
            .upload("/services/WireMock/pricings", "WireMock", "2025")
            .await,
        (409, exists)
    );
    assert_eq!(
        server
            .upload("/services/WireMock/pricings", "Zoom", "2026")
            .await
            .0,
        400
    );
    let exists = json!({"error": "conflict: service `WireMock` already exists"});
    assert_eq!(
        server.upload("/services", "wireMOCK", "2026").await,
        (409, exists)
    );

    for _ in 0..2 {
        let (status, service) = server
            .call(
                "PUT",
                "/services/WireMock/pricings/2024?availability=archived",
            )
            .await;
        assert_eq!(status, 200);
        assert_eq!(versions(&service["archivedPricings"]), ["2024"]);
        assert_eq!(versions(&service["activePricings"]), ["2025"]);
    }
    let unchanged = server.get("/services/WireMock").await;
    assert_eq!(
        server
            .call("PUT", "/services/WireMock/pricings/2024")
            .await
            .0,
        200
    );
    assert_eq!(server.get("/api/v1/services/WireMock").await, unchanged);
    assert!(unchanged["updatedAt"].as_str() > unchanged["createdAt"].as_str());

    let active = server.get("/services/WireMock/pricings").await;
    assert_eq!(
        (&active[0]["version"], &active[1]),
        (&json!("2025"), &json!(null))
    );
    let archived = server
        .get("/services/WireMock/pricings?pricingStatus=archived")
        .await;
    assert_eq!(
        (&archived[0]["version"], &archived[1]),
        (&json!("2024"), &json!(null))
    );
    let pricing = "/services/WireMock/pricings/2024";
    assert_eq!(
        server
            .call("PUT", &format!("{pricing}?availability=active"))
            .await
            .0,
        200
    );
    let (_, changed) = server
        .call("PUT", &format!("{pricing}?availability=active"))
        .await;
    assert_eq!(changed["archivedPricings"], json!({}));
    assert_eq!(server.call("DELETE", pricing).await.0, 409);
    assert_eq!(server.call("PUT", pricing).await.0, 200);
    assert_eq!(server.call("DELETE", pricing).await.0, 204);
    assert_eq!(server.call("DELETE", pricing).await.0, 404);

    let (status, renamed) = server
        .put("/services/WIREMOCK", r#"{"name":"wireMock 2","x":[]}"#)
        .await;
    assert_eq!(
        (status, &renamed["name"], &renamed["id"]),
        (200, &json!("wireMock 2"), &service["id"])
    );
    assert_eq!(server.call("DELETE", "/services/WireMock%202").await.0, 204);
    assert_eq!(server.call("DELETE", "/services/WireMock%202").await.0, 404);
    assert_eq!(server.call("GET", "/services/WireMock%202").await.0, 404);
    assert_eq!(server.get("/services").await, json!([]));
    server.create("Zoom", "1").await;
    let pruned = json!({"message": "Pruned 2 services"});
    assert_eq!(server.call("DELETE", "/services").await, (200, pruned));
    assert_eq!(
        client.next_events(8).await,
        [
            "CREATED WireMock 2024",
            "CREATED WireMock 2025",
            "ARCHIVED WireMock 2024",
            "ACTIVED WireMock 2024",
            "ARCHIVED WireMock 2024",
            "DISABLED wireMock 2",
            "CREATED Zoom 1",
            "DISABLED Zoom",
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_service_comes_back_with_one_event() {
    let server = Server::start().await;
    let longest = "v".repeat(255);
    let mut client = server.join().await;
    server.create("Zoom", &longest).await;
    server
        .upload("/services/Zoom/pricings", "Zoom", "other")
        .await;
    client.next_events(2).await;
    for round in 1..=3 {
        assert_eq!(server.call("DELETE", "/services/Zoom").await.0, 204);
        assert_eq!(
            server
                .upload("/services/Zoom/pricings", "Zoom", "new")
                .await
                .0,
            404
        );
        assert_eq!(server.rename("/services/Zoom", "Zoom 2").await.0, 404);
        // Active, and added while the service is disabled.
        let insert = "insert into pricings (service_name, version) select 'Zoom', 'sql' || count(*) from pricings";
        server.database.sql(insert).await;
        let service = server.create("ZOOM", &longest).await;
        assert_eq!(service["name"], "Zoom");
        assert_eq!(versions(&service["activePricings"]), [longest.as_str()]);
        let archived = versions(&service["archivedPricings"]);
        assert_eq!(archived.len(), 1 + 2 * round, "{archived:?}");
        assert!(archived.iter().all(|version| version.len() <= 255));
        let created = format!("CREATED Zoom {longest}");
        assert_eq!(client.next_events(2).await, ["DISABLED Zoom", &created]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_is_disabled_and_enabled_with_its_pricings_as_they_are() {
    let server = Server::start().await;
    let mut client = server.join().await;
    server.create("Zoom", "1").await;
    server.upload("/services/Zoom/pricings", "Zoom", "2").await;
    assert_eq!(server.call("PUT", "/services/Zoom/pricings/2").await.0, 200);
    client.next_events(3).await;
    let path = "/services/zoom";
    for (body, status) in [
        (r#"{"disabled":false}"#, 200),
        (r#"{"disabled":true}"#, 200),
        (r#"{"disabled":true}"#, 404),
        ("{}", 404),
        (r#"{"disabled":false,"name":"Zoom 2"}"#, 200),
    ] {
        let (answered, service) = server.put(path, body).await;
        assert_eq!(answered, status, "{body}: {service}");
        if status == 200 {
            assert_eq!(
                service["disabled"],
                body == r#"{"disabled":true}"#,
                "{body}"
            );
            assert_eq!(versions(&service["activePricings"]), ["1"]);
            assert_eq!(versions(&service["archivedPricings"]), ["2"]);
        }
    }
    assert_eq!(
        client.next_events(2).await,
        ["DISABLED Zoom", "ACTIVED Zoom 2 1"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_paged_and_sorted_without_regard_to_case() {
    let server = Server::start().await;
    let names = ["beta", "Alpha", "GAMMA", "100%", "a_b", "Ünder"];
    server.database.add_services(&names).await;
    server
        .database
        .sql("insert into services (name, disabled) values ('alpha gone', true)")
        .await;
    for (query, names) in [
        ("", "100%,a_b,Alpha,beta,GAMMA,Ünder"),
        ("order=desc&limit=2", "Ünder,GAMMA"),
        ("page=2&limit=4", "GAMMA,Ünder"),
        ("page=2&limit=4&offset=1", "a_b,Alpha,beta,GAMMA"),
        ("page=2&limit=4&offset=0", "GAMMA,Ünder"),
        ("page=9223372036854775807&limit=1000", ""),
        ("name=AL", "Alpha"),
        ("name=%25", "100%"),
        ("name=_", "a_b"),
        ("name=%C3%BCn", "Ünder"),
        ("name=%5C", ""),
        ("name=%FF&zzz=1", ""),
        ("limit=1&limit=2&name=&&=", "100%,a_b"),
        ("disabled=true", "alpha gone"),
        ("disabled=true&name=beta", ""),
        ("disabled=false&limit=1", "100%"),
    ] {
        let list = server.get(&format!("/services?{query}")).await;
        let list = list.as_array().expect("a list");
        let listed: Vec<_> = list
            .iter()
            .filter_map(|service| service["name"].as_str())
            .collect();
        assert_eq!(listed.join(","), names, "{query}");
    }
    for query in [
        "limit=0",
        "limit=1001",
        "limit=",
        "limit=x",
        "limit=1.5",
        "limit=99999999999999999999",
        "page=0",
        "page=-1",
        "offset=-1",
        "offset=x",
        "order=ASC",
        "order=",
        "name=%00",
        "disabled=1",
        "disabled=",
    ] {
        let (status, body) = server.call("GET", &format!("/services?{query}")).await;
        assert_eq!(status, 400, "{query}");
        let (parameter, _) = query.split_once('=').expect("a parameter");
        let sentence = body["error"].as_str().expect("a sentence");
        assert!(sentence.contains(&format!("`{parameter}`")), "{sentence}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pricing_that_sql_inserted_has_a_document_of_its_row() {
    let server = Server::start().await;
    server.database.add_service("Bare").await;
    server.database.add_pricing("Bare", "1").await;
    server
        .database
        .sql("insert into pricings (service_name, version, document) values ('Bare', '2', '[1]')")
        .await;
    for version in ["1", "2"] {
        let document = server
            .get(&format!("/services/bare/pricings/{version}"))
            .await;
        assert_eq!(document["version"], version);
        assert_eq!(
            document.as_object().map(serde_json::Map::len),
            Some(2),
            "{document}"
        );
        assert!(
            document["createdAt"]
                .as_str()
                .is_some_and(|time| time.len() == 24),
            "{document}"
        );
    }
    let file = server
        .request("GET", "/services/Bare/pricings/1")
        .header("accept", "text/yaml");
    assert_eq!(answer(file).await.0, 404);
    assert_eq!(
        server
            .get("/services/BARE/pricings?pricingStatus=archived")
            .await,
        json!([])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fallback_subscription_is_ignored() {
    let server = Server::start().await;
    server.create("Zoom", "1").await;
    let archive = "/services/Zoom/pricings/1?availability=archived";
    for (body, status) in [
        ("{", 400),
        (r#"{"subscriptionPlan":"BASIC"}"#, 200),
        ("", 200),
        ("null", 200),
    ] {
        assert_eq!(server.put(archive, body).await.0, status, "{body}");
    }
}
