//! Real frames are as the AsyncAPI document says, and wrong ones are not.

use std::collections::BTreeSet;

use jsonschema::Draft;
use reqwest::Method;
use serde_json::{Value, json};
use space_events::config::Settings;

use super::{conforms, document};
use crate::support::client::since;
use crate::support::{Client, Database, TestApp, pricing};

const ASYNCAPI: &str = "/api/v1/asyncapi.json";

/// Whether the arguments of the event `message` are as one of the announced
/// messages says, and as no other.
fn announced(document: &Value, arguments: &Value) -> Result<(), String> {
    let announced = document["operations"]["announce"]["messages"].as_array();
    let fitting = announced.expect("messages").iter().filter(|reference| {
        let name = reference["$ref"].as_str().expect("a place");
        let name = name.rsplit('/').next().expect("a name");
        let message = &document["components"]["messages"][name];
        let schema = &message["x-socket-io"]["arguments"];
        let fits = conforms(document, Draft::Draft7, schema, arguments).is_ok();
        let payload = conforms(document, Draft::Draft7, &message["payload"], &arguments[0]);
        assert!(!fits || payload.is_ok(), "{arguments}");
        fits
    });
    match fitting.count() {
        1 => Ok(()),
        count => Err(format!("{count} messages fit {arguments}")),
    }
}

/// The arguments after the event's name.
fn arguments(frame: &str) -> Value {
    let packet = frame.strip_prefix("42/pricings,").expect("an event");
    let mut packet: Vec<Value> = serde_json::from_str(packet).expect("JSON");
    assert_eq!(packet.remove(0), "message");
    Value::Array(packet)
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_are_as_they_are_described() {
    let database = Database::create().await;
    let app = TestApp::start(&database).await;
    let document = document(&app, ASYNCAPI).await;
    let mut clients = [
        app.join().await,
        Client::join(app.address, &since("")).await,
    ];
    app.upload("/services", &pricing("Zoom", "2024")).await;
    for availability in ["archived", "active"] {
        let path = format!("/services/Zoom/pricings/2024?availability={availability}");
        app.request(Method::PUT, &path)
            .send()
            .await
            .expect("an answer");
    }
    let delete = app.request(Method::DELETE, "/services/Zoom");
    delete.send().await.expect("an answer");
    for (client, count) in clients.iter_mut().zip([1, 2]) {
        let mut codes = BTreeSet::new();
        for _ in 0..4 {
            let arguments = arguments(&client.next_frame().await);
            assert_eq!(arguments.as_array().map(Vec::len), Some(count));
            announced(&document, &arguments).expect("a described frame");
            codes.insert(arguments[0]["code"].as_str().expect("a code").to_owned());
        }
        // Each code that is described was heard, and no other.
        let described = document["channels"]["pricings"]["messages"].as_object();
        let described = described.expect("messages").keys().cloned();
        let announced: BTreeSet<_> = described
            .filter(|name| !name.starts_with("CONNECT") && name != "POSITION")
            .collect();
        assert_eq!(codes, announced);
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_of_another_form_are_not_described() {
    let database = Database::create().await;
    let app = TestApp::start(&database).await;
    let document = document(&app, ASYNCAPI).await;
    let pricing = json!({ "serviceName": "Zoom", "pricingVersion": "2024" });
    let service = json!({ "serviceName": "Zoom" });
    let event = |code: &str, details: &Value| json!({ "code": code, "details": details });
    let created = event("PRICING_CREATED", &pricing);
    let reference =
        json!({ "position": "x", "id": "1-00000000", "occurredAt": "2026-11-25T10:00:00.000Z" });
    let right = [
        json!([created]),
        json!([created, reference]),
        json!([event("SERVICE_DISABLED", &service)]),
    ];
    for arguments in right {
        announced(&document, &arguments).expect("a described frame");
    }
    let wrong = [
        json!([]),
        json!([created, 1]),
        json!([created, "position"]),
        json!([created, { "position": "x", "id": "1-00000000" }]),
        json!([created, reference, "more"]),
        json!([event("PRICING_ACTIVATED", &pricing)]),
        json!([event("PRICING_CREATED", &service)]),
        json!([event("SERVICE_DISABLED", &pricing)]),
        json!([event(
            "PRICING_ARCHIVED",
            &json!({ "serviceName": "Zoom", "pricingVersion": 2024 })
        )]),
        json!([{ "code": "PRICING_CREATED" }]),
        json!([{ "details": pricing }]),
        json!([{ "code": "PRICING_CREATED", "details": pricing, "more": 1 }]),
        json!(["PRICING_CREATED"]),
    ];
    for arguments in wrong {
        assert!(announced(&document, &arguments).is_err(), "{arguments}");
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_handshake_is_as_it_is_described() {
    let database = Database::create().await;
    let settings = Settings {
        api_keys: Some("a:ALL".to_owned()),
        socket_auth: Some("key".to_owned()),
        ..Settings::default()
    };
    let app = TestApp::start_with(&database, settings).await;
    let document = document(&app, ASYNCAPI).await;
    let payload = |name: &str| document["components"]["messages"][name]["payload"].clone();
    for (auth, prefix, name) in [
        (json!({ "apiKey": "a" }), "40", "CONNECTED"),
        (json!({ "apiKey": "a", "since": "" }), "40", "CONNECTED"),
        (json!({ "apiKey": "a", "since": null }), "40", "CONNECTED"),
        (
            json!({ "apiKey": "a", "since": "x" }),
            "44",
            "CONNECT_ERROR",
        ),
        (json!({ "since": "" }), "44", "CONNECT_ERROR"),
        (json!(5), "44", "CONNECT_ERROR"),
    ] {
        let described = conforms(&document, Draft::Draft7, &payload("CONNECT"), &auth);
        assert_eq!(described.is_ok(), auth.is_object());
        let mut client = Client::open(app.address).await;
        client.send(&format!("40/pricings,{auth}")).await;
        let answer = client.next_frame().await;
        let body = answer.strip_prefix(&format!("{prefix}/pricings,"));
        let body = serde_json::from_str(body.expect("an answer")).expect("JSON");
        conforms(&document, Draft::Draft7, &payload(name), &body).expect("an answer");
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_asks_for_a_part_is_as_it_is_described() {
    let database = Database::create().await;
    let app = TestApp::start(&database).await;
    let document = document(&app, ASYNCAPI).await;
    let payload = |name: &str| &document["components"]["messages"][name]["payload"];
    for (auth, is_let_in) in [
        (json!({ "services": ["Zoom"] }), true),
        (
            json!({ "services": ["a"], "codes": ["PRICING_ACTIVED"], "since": "" }),
            true,
        ),
        (json!({ "services": null, "codes": null }), true),
        (json!({ "services": "Zoom" }), false),
        (json!({ "services": ["\n Zoom \n"] }), true),
        (json!({ "services": [" \n"] }), false),
        (json!({ "services": ["Zoom\0"] }), false),
        (json!({ "services": [] }), false),
        (json!({ "codes": [] }), false),
        (json!({ "codes": ["PRICING_ACTIVATED"] }), false),
    ] {
        let described = conforms(&document, Draft::Draft7, payload("CONNECT"), &auth);
        assert_eq!(described.is_ok(), is_let_in, "{auth}");
        let mut client = Client::open(app.address).await;
        client.send(&format!("40/pricings,{auth}")).await;
        let answer = client.next_frame().await;
        let (prefix, name) = match is_let_in {
            true => ("40/pricings,", "CONNECTED"),
            false => ("44/pricings,", "CONNECT_ERROR"),
        };
        let body = answer.strip_prefix(prefix).expect("the answer to expect");
        let body = serde_json::from_str(body).expect("JSON");
        conforms(&document, Draft::Draft7, payload(name), &body).expect("a described answer");
    }
    app.stop().await;
}
