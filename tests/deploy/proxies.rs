//! The examples for proxies in `deploy/proxies`, run as they are but for their
//! names, ports and certificates: TLS, websockets, polling, two instances.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use futures_util::future::join_all;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use reqwest::StatusCode;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use serde_json::json;
use space_events::config::Settings;
use space_events::store::tls::crypto_provider;

use super::tool;
use crate::clients::PublishedClient;
use crate::support::postgres::new_directory;
use crate::support::{Database, TestApp, pricing, wait_until};

#[tokio::test(flavor = "multi_thread")]
async fn nginx_as_in_the_example_serves_every_transport_and_keeps_who_polls_with_one_instance() {
    let site = Site::new().await;
    let nginx = tool("nginx").expect("nginx, which `make test` installs");
    let example = site.fill_in(
        include_str!("../../deploy/proxies/nginx.conf"),
        &[
            (
                "listen 80;",
                format!("listen 127.0.0.1:{};", site.http_port),
            ),
            (
                "listen 443 ssl;",
                format!("listen 127.0.0.1:{} ssl;", site.https_port),
            ),
            (
                "server_name events.example.com;",
                "server_name localhost;".to_owned(),
            ),
            (
                "/etc/ssl/certs/events.example.com.pem",
                site.path("cert.pem"),
            ),
            (
                "/etc/ssl/private/events.example.com.key",
                site.path("key.pem"),
            ),
        ],
    );
    let folder = site.path("");
    let around = format!(
        "daemon off; pid {folder}pid; error_log stderr; worker_processes 1;
        events {{}}
        http {{
            access_log off;
            client_body_temp_path {folder}body; proxy_temp_path {folder}proxy;
            fastcgi_temp_path {folder}fastcgi; uwsgi_temp_path {folder}uwsgi; scgi_temp_path {folder}scgi;
            {example}
        }}"
    );
    let conf = site.file("nginx.conf", &around);
    let proxy = site.start(&nginx, &["-e", "stderr", "-p", &folder, "-c", &conf]);
    site.serves_by(proxy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn caddy_as_in_the_example_serves_every_transport_and_keeps_who_polls_with_one_instance() {
    let Some(caddy) = tool("caddy") else {
        return;
    };
    let site = Site::new().await;
    let example = site.fill_in(
        include_str!("../../deploy/proxies/Caddyfile"),
        &[(
            "events.example.com {",
            format!(
                "https://localhost:{} {{\n\ttls {} {}",
                site.https_port,
                site.path("cert.pem"),
                site.path("key.pem")
            ),
        )],
    );
    let around = format!(
        "{{\n\tadmin off\n\tdefault_bind 127.0.0.1\n\thttp_port {}\n\thttps_port {}\n}}\n{example}",
        site.http_port, site.https_port
    );
    let conf = site.file("Caddyfile", &around);
    let proxy = site.start(
        &caddy,
        &["run", "--config", &conf, "--adapter", "caddyfile"],
    );
    site.serves_by(proxy).await;
}

/// Two instances on one database, and what a proxy before them needs.
struct Site {
    database: Database,
    apps: Vec<TestApp>,
    directory: PathBuf,
    certificate: CertificateDer<'static>,
    pem: String,
    http_port: u16,
    https_port: u16,
}

impl Site {
    async fn new() -> Self {
        let database = Database::create().await;
        let settings = || Settings {
            api_keys: Some("secret:ALL".to_owned()),
            ..Settings::default()
        };
        let apps = vec![
            TestApp::start_with(&database, settings()).await,
            TestApp::start_with(&database, settings()).await,
        ];
        let directory = new_directory("proxy");
        std::fs::create_dir(&directory).expect("a directory");
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let site = Self {
            database,
            apps,
            directory,
            certificate: cert.der().clone(),
            pem: cert.pem(),
            http_port: free_port(),
            https_port: free_port(),
        };
        site.file("cert.pem", &site.pem);
        site.file("key.pem", &signing_key.serialize_pem());
        site
    }

    fn path(&self, name: &str) -> String {
        self.directory
            .join(name)
            .to_str()
            .expect("a path")
            .to_owned()
    }

    fn file(&self, name: &str, text: &str) -> String {
        std::fs::write(self.directory.join(name), text).expect("a file");
        self.path(name)
    }

    fn start(&self, program: &Path, arguments: &[&str]) -> Proxy {
        let log = self.directory.join("log");
        let process = Command::new("sh")
            .args([
                "-c",
                r#"trap '' INT TERM; "$@" & cat > /dev/null; kill $!; wait"#,
                "sh",
            ])
            .arg(program)
            .args(arguments)
            // Where Caddy keeps what it wants to keep.
            .env("XDG_CONFIG_HOME", &self.directory)
            .env("XDG_DATA_HOME", &self.directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).expect("a log"))
            .spawn()
            .expect("sh starts");
        Proxy { process, log }
    }

    /// The example, with the two instances and what else is of this test; each
    /// has to be in it.
    fn fill_in(&self, example: &str, replacements: &[(&str, String)]) -> String {
        let instances = ["127.0.0.1:5403", "127.0.0.1:5404"].into_iter();
        let addresses = self.apps.iter().map(|app| app.address.to_string());
        let all = instances.zip(addresses).chain(replacements.iter().cloned());
        all.fold(example.to_owned(), |text, (from, to)| {
            assert!(text.contains(from), "{from}");
            text.replace(from, &to)
        })
    }

    /// A client of the proxy that comes from this address.
    fn http(&self, from: IpAddr) -> reqwest::Client {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).expect("a certificate");
        let tls = rustls::ClientConfig::builder_with_provider(crypto_provider())
            .with_safe_default_protocol_versions()
            .expect("ring knows the default versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(reqwest::redirect::Policy::none())
            .local_address(from)
            .no_proxy()
            .build()
            .expect("a client")
    }

    async fn serves_by(mut self, proxy: Proxy) {
        let url = format!("https://localhost:{}", self.https_port);
        let http = self.http(Ipv4Addr::LOCALHOST.into());
        let check = format!("{url}/api/v1/healthcheck");
        wait_until("the proxy serves", async || {
            let answer = http.get(&check).send().await;
            answer.is_ok_and(|answer| answer.status() == StatusCode::OK)
        })
        .await;
        let plain = http
            .get(format!("http://localhost:{}/x", self.http_port))
            .send();
        let plain = plain.await.expect("an answer");
        assert!(plain.status().is_redirection(), "{}", plain.status());

        self.clients_of_every_transport_hear(&url).await;
        self.an_upload_of_two_mib_is_the_programs_to_judge(&url, &http)
            .await;
        self.who_polls_stays_with_one_instance(&url).await;
        drop(proxy);
        for app in self.apps.drain(..) {
            app.stop().await;
        }
    }

    async fn clients_of_every_transport_hear(&self, url: &str) {
        let mut clients = Vec::new();
        for transports in [
            json!(["websocket"]),
            json!(["polling"]),
            json!(["polling", "websocket"]),
        ] {
            let upgrades = transports.as_array().is_some_and(|all| all.len() == 2);
            let options = json!({"transports": transports, "ca": self.pem}).to_string();
            let mut client = PublishedClient::start("socket_io_client.mjs", &[url, &options]).await;
            if upgrades {
                client.upgraded().await;
            }
            clients.push(client);
        }
        self.database.add_service("Zoom").await;
        self.database.add_pricings("Zoom", 1..501).await;
        for client in &mut clients {
            for number in 1..=500 {
                let heard = client.heard().await;
                assert_eq!(heard[0]["details"]["pricingVersion"], number.to_string());
            }
        }
    }

    /// What the program takes, the proxy hands on.
    async fn an_upload_of_two_mib_is_the_programs_to_judge(
        &self,
        url: &str,
        http: &reqwest::Client,
    ) {
        let comment = format!("# {}\n", "x".repeat(2 * 1024 * 1024 - 1024));
        let form = format!(
            "--b\r\ncontent-disposition: form-data; name=\"pricing\"; filename=\"p.yaml\"\r\n\r\n{comment}{}\r\n--b--\r\n",
            pricing("Slack", "2024")
        );
        let upload = http
            .post(format!("{url}/api/v1/services"))
            .header("x-api-key", "secret")
            .header("content-type", "multipart/form-data; boundary=b")
            .body(form);
        let answer = upload.send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::CREATED);
    }

    /// From sixteen addresses: each is with one instance, and both have some.
    async fn who_polls_stays_with_one_instance(&self, url: &str) {
        let joining = (1..=16).map(|number| {
            let http = self.http(Ipv4Addr::new(127, 0, 0, number).into());
            async move {
                let path = format!("{url}/events/?EIO=4&transport=polling");
                let get = async |path: &str| {
                    let answer = http.get(path).send().await.expect("an answer");
                    assert_eq!(answer.status(), StatusCode::OK, "{number}");
                    answer.text().await.expect("a text")
                };
                let open = get(&path).await;
                let path = format!("{path}&sid={}", open.split('"').nth(3).expect("a session"));
                let connect = http.post(&path).body("40/pricings,").send().await;
                assert_eq!(
                    connect.expect("an answer").status(),
                    StatusCode::OK,
                    "{number}"
                );
                while !get(&path).await.contains("40/pricings,{") {}
            }
        });
        join_all(joining).await;
        let mut polling = Vec::new();
        for app in &self.apps {
            let metrics = app.request(reqwest::Method::GET, "/metrics");
            let metrics = metrics.header("x-api-key", "secret").send().await;
            let text = metrics.expect("an answer").text().await.expect("a text");
            let mut lines = text.lines();
            let count = lines
                .find_map(|line| line.strip_prefix("space_events_clients{transport=\"polling\"} "));
            polling.push(count.expect("a count").parse::<u32>().expect("a number"));
        }
        // The client in JavaScript that polls is one more.
        assert!(polling.iter().sum::<u32>() >= 16, "{polling:?}");
        assert!(polling.iter().all(|count| *count >= 2), "{polling:?}");
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// A running proxy; it ends with this value, and with the test's process.
struct Proxy {
    process: Child,
    log: PathBuf,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
        if std::thread::panicking() {
            eprintln!("{}", std::fs::read_to_string(&self.log).unwrap_or_default());
        }
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener
        .local_addr()
        .map(|address: SocketAddr| address.port())
        .expect("an address")
}
