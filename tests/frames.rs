//! The frames that a client gets, to the byte.

use crate::support::{Client, Database, TestApp, pricing};
use reqwest::Method;

#[tokio::test(flavor = "multi_thread")]
async fn the_frames_are_those_of_the_documentation() {
    let database = Database::create().await;
    let app = TestApp::start(&database).await;
    let mut client = app.join().await;
    for prefix in ["", "/api/v1"] {
        app.upload(&format!("{prefix}/services"), &pricing("WireMock", "2024"))
            .await;
        app.upload(
            &format!("{prefix}/services/WireMock/pricings"),
            &pricing("WireMock", "2025"),
        )
        .await;
        for availability in ["archived", "active"] {
            let path =
                format!("{prefix}/services/WireMock/pricings/2024?availability={availability}");
            let put = app
                .request(Method::PUT, &path)
                .send()
                .await
                .expect("an answer");
            assert_eq!(put.status(), 200);
        }
        let delete = app.request(Method::DELETE, &format!("{prefix}/services/WireMock"));
        assert_eq!(delete.send().await.expect("an answer").status(), 204);
        for (code, details) in [
            (
                "PRICING_CREATED",
                r#""serviceName":"WireMock","pricingVersion":"2024""#,
            ),
            (
                "PRICING_CREATED",
                r#""serviceName":"WireMock","pricingVersion":"2025""#,
            ),
            (
                "PRICING_ARCHIVED",
                r#""serviceName":"WireMock","pricingVersion":"2024""#,
            ),
            (
                "PRICING_ACTIVED",
                r#""serviceName":"WireMock","pricingVersion":"2024""#,
            ),
            ("SERVICE_DISABLED", r#""serviceName":"WireMock""#),
        ] {
            let frame =
                format!(r#"42/pricings,["message",{{"code":"{code}","details":{{{details}}}}}]"#);
            assert_eq!(client.next_frame().await, frame);
        }
        database.sql("delete from services").await;
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_namespaces_are_refused_on_a_connection_that_stays() {
    let database = Database::create().await;
    let app = TestApp::start(&database).await;
    let mut client = Client::open(app.address).await;
    client.send("40/foo,").await;
    assert_eq!(
        client.next_frame().await,
        r#"44/foo,{"message":"Invalid namespace"}"#
    );
    client.send("40").await;
    assert!(client.next_frame().await.starts_with("40{\"sid\":"));
    client.send("40/pricings,").await;
    assert!(
        client
            .next_frame()
            .await
            .starts_with("40/pricings,{\"sid\":")
    );
    database.add_service("Zoom").await;
    database.add_pricing("Zoom", "1").await;
    assert_eq!(client.next_event().await, "CREATED Zoom 1");
    app.stop().await;
}
