//! REST on a database that does not answer.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use space_events::api_key::ApiKeys;
use space_events::journal::bounds::JournalBounds;
use space_events::journal::{CatchUp, JournalKey, ReplayBuffer};
use space_events::operations::readiness;
use space_events::rest::pricing_url::PricingFetcher;
use space_events::rest::{self, Api};
use space_events::store::Pool;
use space_events::store::database_url::DatabaseUrl;
use space_events::store::transaction::Sessions;
use tokio::net::TcpListener;

/// Serves it; where it listens.
pub async fn serve() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, router()).await });
    address
}

/// Its routes.
pub fn router() -> axum::Router {
    let nowhere = DatabaseUrl::parse("postgres://nobody@127.0.0.1:1/nothing").expect("a URL");
    let api = Api {
        pool: Pool::new(nowhere.clone(), Sessions::Kept, NonZeroU32::MIN).0,
        catch_up: Arc::new(CatchUp::new(
            nowhere,
            JournalKey::new(Vec::new()),
            Arc::new(ReplayBuffer::new(JournalBounds::nothing(), Arc::default())),
        )),
        keys: Arc::new(ApiKeys::default()),
        fetcher: Arc::new(PricingFetcher::new(
            Vec::new(),
            rest::MAX_PRICING_BYTES,
            Duration::from_secs(5),
        )),
        outgoing: rest::Outgoing::default(),
    };
    rest::router(api, readiness::routes().into_openapi())
}
