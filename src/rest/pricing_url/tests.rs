//! What is fetched from a URL, from whom, and what is refused.

use super::test_server::{MAX_BYTES, server, tls_server};
use super::*;
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio::time::sleep;

/// Long enough for any answer on this machine, unless a test wants it shorter.
const LIMIT: Duration = Duration::from_secs(20);

fn fetcher(allowed: &[&str], limit: Duration) -> PricingFetcher {
    let allowed = AllowedHost::parse_list(&allowed.join(", ,")).expect("hosts");
    PricingFetcher::with_roots(allowed, MAX_BYTES, limit, RootCertStore::empty())
}

async fn refusal(fetcher: &PricingFetcher, url: &str) -> String {
    match fetcher.fetch(url).await {
        Ok(body) => panic!("{url} gave {} bytes", body.len()),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn an_allowed_host_is_fetched_through_its_redirects() {
    let port = server().await;
    let fetcher = fetcher(&["127.0.0.1"], LIMIT);
    for path in ["pricing", "relative", "to-loopback", "redirects/4"] {
        let body = fetcher
            .fetch(&format!("http://127.0.0.1:{port}/{path}"))
            .await;
        assert_eq!(body.expect(path), "hello", "{path}");
    }
    let full = fetcher
        .fetch(&format!("http://127.0.0.1:{port}/full"))
        .await;
    assert_eq!(full.expect("as large as allowed").len(), MAX_BYTES);
}

#[tokio::test]
async fn an_entry_with_a_port_allows_that_port_alone() {
    let (port, other) = (server().await, server().await);
    let fetcher = fetcher(&[&format!("LocalHost:{port}")], LIMIT);
    let fetched = fetcher
        .fetch(&format!("http://LOCALHOST:{port}/pricing"))
        .await;
    assert_eq!(fetched.expect("allowed"), "hello");
    assert_eq!(
        refusal(&fetcher, &format!("http://localhost:{other}/pricing")).await,
        "the pricing URL leads to `localhost`, which is not on the public internet"
    );
    // Each redirect is checked anew: the host that sent us does not vouch for the next.
    assert_eq!(
        refusal(&fetcher, &format!("http://localhost:{port}/to-loopback")).await,
        "the pricing URL leads to `127.0.0.1`, which is not on the public internet"
    );
}

#[tokio::test]
async fn what_a_server_may_answer_is_refused_in_one_sentence() {
    let port = server().await;
    let fetcher = fetcher(&["127.0.0.1"], LIMIT);
    let closed = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let closed_port = closed.local_addr().expect("address").port();
    drop(closed);
    for (path, expected) in [
        ("missing", "the pricing URL answered 404"),
        ("without-location", "the pricing URL answered 302"),
        ("redirects/5", "the pricing URL redirects more than 5 times"),
        ("for-ever", "the pricing URL redirects more than 5 times"),
        (
            "to-nonsense",
            "the pricing URL redirects to something that is not a URL",
        ),
        (
            "to-file",
            "a pricing URL starts with http:// or https://, not file:",
        ),
        (
            "to-credentials",
            "a pricing URL must not contain a user or password",
        ),
        (
            "to-metadata",
            "the pricing URL leads to `169.254.169.254`, which is not on the public internet",
        ),
        (
            "announced",
            "the pricing URL's answer is larger than 65536 bytes",
        ),
        (
            "endless",
            "the pricing URL's answer is larger than 65536 bytes",
        ),
        (
            "cut",
            "the pricing URL's host `127.0.0.1` cannot be read from: \
             end of file before message length reached",
        ),
    ] {
        let url = format!("http://127.0.0.1:{port}/{path}");
        assert_eq!(refusal(&fetcher, &url).await, expected, "{path}");
    }
    let refused = refusal(&fetcher, &format!("http://127.0.0.1:{closed_port}/")).await;
    assert!(
        refused.contains("cannot be read from: Connection refused"),
        "{refused}"
    );
}

#[tokio::test]
async fn https_asks_for_a_certificate_that_is_trusted_and_names_the_host() {
    let (port, certificate) = tls_server().await;
    let mut roots = RootCertStore::empty();
    roots.add(certificate).expect("a root");
    let with_roots = |roots| {
        let allowed = ["localhost", "127.0.0.1"].map(|host| host.parse().expect("a host"));
        PricingFetcher::with_roots(allowed.into(), MAX_BYTES, LIMIT, roots)
    };
    let trusting = with_roots(roots);
    let body = trusting
        .fetch(&format!("https://localhost:{port}/relative"))
        .await;
    assert_eq!(body.expect("trusted"), "hello");

    let refused = refusal(&trusting, &format!("https://127.0.0.1:{port}/pricing")).await;
    assert!(
        refused.contains("certificate not valid for name"),
        "{refused}"
    );

    let (_, another) = tls_server().await;
    let mut roots = RootCertStore::empty();
    roots.add(another).expect("a root");
    let refused = refusal(&with_roots(roots), &format!("https://localhost:{port}/")).await;
    assert!(refused.contains("invalid peer certificate"), "{refused}");
}

#[tokio::test]
async fn a_server_that_stalls_is_given_up() {
    let port = server().await;
    let fetcher = fetcher(&["127.0.0.1"], Duration::from_millis(200));
    for path in ["silent", "silent-body"] {
        assert_eq!(
            refusal(&fetcher, &format!("http://127.0.0.1:{port}/{path}")).await,
            "the pricing URL took longer than 0.2 seconds",
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_fetch_waits_for_its_turn_and_not_for_ever() {
    let port = server().await;
    let fetcher = PricingFetcher {
        permits: Arc::new(Semaphore::new(1)),
        ..fetcher(&["127.0.0.1"], Duration::from_millis(500))
    };
    let silent = format!("http://127.0.0.1:{port}/silent");
    let good = format!("http://127.0.0.1:{port}/pricing");
    // Its turn comes when the first is given up, before it gives up itself.
    let (first, second) = tokio::join!(fetcher.fetch(&silent), async {
        sleep(Duration::from_millis(100)).await;
        fetcher.fetch(&good).await
    });
    assert!(matches!(first, Err(FetchError::TooSlow(_))), "{first:?}");
    assert_eq!(second.expect("a pricing"), "hello");

    let _permit = fetcher.permits.acquire().await.expect("a permit");
    let refused = fetcher.fetch(&good).await;
    assert!(matches!(refused, Err(FetchError::Busy)), "{refused:?}");
}

#[tokio::test]
async fn a_lookup_that_goes_on_keeps_its_permit() {
    static HELD: Mutex<()> = Mutex::const_new(());
    let fetcher = PricingFetcher {
        permits: Arc::new(Semaphore::new(1)),
        look_up: |_, _| {
            drop(HELD.blocking_lock());
            Err(io::ErrorKind::TimedOut.into())
        },
        ..fetcher(&[], Duration::from_millis(100))
    };
    let held = HELD.lock().await;
    let slow = fetcher.fetch("http://slow.example/").await;
    assert!(matches!(slow, Err(FetchError::TooSlow(_))), "{slow:?}");
    assert_eq!(fetcher.permits.available_permits(), 0);
    drop(held);
    let permit = timeout(LIMIT, fetcher.permits.acquire()).await;
    permit.expect("it ends").expect("a permit").forget();
}

#[tokio::test]
async fn urls_that_are_not_asked_at_all() {
    let fetcher = fetcher(&["127.0.0.2"], LIMIT);
    let not_public =
        |host| format!("the pricing URL leads to `{host}`, which is not on the public internet");
    for (url, expected) in [
        ("http://127.0.0.1/", not_public("127.0.0.1")),
        ("http://2130706433/", not_public("127.0.0.1")),
        ("http://0x7f.1/", not_public("127.0.0.1")),
        ("http://017700000001/", not_public("127.0.0.1")),
        ("http://127.1./", not_public("127.0.0.1")),
        ("http://\u{ff11}27.0.0.1/", not_public("127.0.0.1")),
        ("http://%31%32%37.0.0.1/", not_public("127.0.0.1")),
        ("http://0/", not_public("0.0.0.0")),
        ("http://[::]/", not_public("[::]")),
        ("http://[::1]/", not_public("[::1]")),
        ("http://[::ffff:127.0.0.1]/", not_public("[::ffff:7f00:1]")),
        ("http://[::127.0.0.1]/", not_public("[::7f00:1]")),
        (
            "http://[64:ff9b::10.0.0.1]/",
            not_public("[64:ff9b::a00:1]"),
        ),
        ("http://[fe80::1]/", not_public("[fe80::1]")),
        ("http://localhost/", not_public("localhost")),
        (
            "ftp://example.com/",
            "a pricing URL starts with http:// or https://, not ftp:".to_owned(),
        ),
        (
            "file:///etc/passwd",
            "a pricing URL starts with http:// or https://, not file:".to_owned(),
        ),
        (
            "http://user@example.com/",
            "a pricing URL must not contain a user or password".to_owned(),
        ),
        (
            "http://:secret@example.com/",
            "a pricing URL must not contain a user or password".to_owned(),
        ),
        (
            "https://127.0.0.2/",
            "this server has no CA certificates, so it cannot fetch https:// URLs".to_owned(),
        ),
        (
            "pricing.yml",
            "the pricing URL is not a URL: relative URL without a base".to_owned(),
        ),
        (
            "http://",
            "the pricing URL is not a URL: empty host".to_owned(),
        ),
        (
            "http://pricings.invalid/",
            "the pricing URL's host `pricings.invalid` cannot be found".to_owned(),
        ),
    ] {
        assert_eq!(refusal(&fetcher, url).await, expected, "{url}");
    }
}

#[tokio::test]
async fn the_connection_goes_to_the_addresses_that_were_checked() {
    let port = server().await;
    let client = fetcher(&[], LIMIT).client(vec![([127, 0, 0, 1], port).into()]);
    // A name that no other resolver knows.
    let url = format!("http://pricings.invalid:{port}/pricing");
    let response = client.expect("client").get(url).send().await;
    let body = response.expect("response").text().await;
    assert_eq!(body.expect("body"), "hello");
}

#[tokio::test]
async fn a_request_tells_who_asks_and_nothing_else() {
    let port = server().await;
    let fetcher = fetcher(&["127.0.0.1"], LIMIT);
    let body = fetcher
        .fetch(&format!("http://127.0.0.1:{port}/echo"))
        .await;
    let body = String::from_utf8(body.expect("body").to_vec()).expect("UTF-8");
    let mut headers: Vec<_> = body.trim_end().lines().collect();
    headers.sort_unstable();
    let user_agent = concat!("user-agent: space-events/", env!("CARGO_PKG_VERSION"));
    let host = format!("host: 127.0.0.1:{port}");
    assert_eq!(headers, ["accept: */*", &host, user_agent]);
}
