//! Organisations: each hears, reads and changes what is its own, and nothing else.

mod apart;
mod capture;

use std::net::SocketAddr;

use serde_json::json;
use space_events::config::Settings;

use crate::support::postgres::Session;
use crate::support::{Client, Database, TestApp};

/// The organisations of the tests, the default one first.
const ORGANIZATIONS: [&str; 3] = ["", "acme", "Größe & Söhne"];

/// The key of each, and its entry in API_KEYS.
const KEYS: [(&str, &str); 3] = [
    ("key-0", "key-0:ALL"),
    ("key-1", "key-1:ALL@acme"),
    ("key-2", "name=key-2:ALL@Größe & Söhne"),
];

fn settings() -> Settings {
    Settings {
        api_keys: Some(KEYS.map(|(_, entry)| entry).join(",")),
        ..Settings::default()
    }
}

async fn start(database: &Database) -> TestApp {
    TestApp::start_with(database, settings()).await
}

/// A client with each of the keys.
async fn join_all(address: SocketAddr) -> Vec<Client> {
    let mut clients = Vec::new();
    for (key, _) in KEYS {
        let connect = format!("40/pricings,{}", json!({ "apiKey": key }));
        clients.push(Client::join(address, &connect).await);
    }
    clients
}

/// What each client heard up to now: an event of its own ends it.
async fn heard_so_far(session: &Session, clients: &mut [Client]) -> Vec<Vec<String>> {
    for organization in ORGANIZATIONS {
        session
            .sql(&format!(
                "insert into services (organization, name) values ('{organization}', 'end');
                insert into pricings (organization, service_name, version) values ('{organization}', 'end', '1');
                delete from services where organization = '{organization}' and name = 'end';
                delete from pricings where organization = '{organization}' and service_name = 'end'"
            ))
            .await;
    }
    let mut heard = Vec::new();
    for client in clients {
        heard.push(client.events_before("CREATED end 1").await);
        assert_eq!(client.next_event().await, "DISABLED end");
    }
    heard
}
