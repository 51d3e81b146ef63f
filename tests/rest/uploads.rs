//! The ways a pricing arrives, and what is refused.

use axum::Router;
use axum::routing::get;
use serde_json::json;
use space_events::config::Settings;
use tokio::net::TcpListener;

use super::{Server, answer};
use crate::support::pricing;

const FORM: &str = "multipart/form-data; boundary=b";
const TWO_MIB: usize = 2 * 1024 * 1024;

fn form(fields: &[(&str, &str)]) -> String {
    let mut body = String::new();
    for (name, content) in fields {
        body += "--b\r\ncontent-disposition: form-data; ";
        body += &format!("name=\"{name}\"; filename=\"f.yml\"\r\n\r\n{content}\r\n");
    }
    body + "--b--\r\n"
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_arrives_byte_for_byte() {
    let server = Server::start().await;
    let yaml = pricing("Ways", "1") + "# é, exactly\r\n";
    for (content_type, body) in [
        ("application/yaml; charset=utf-8", yaml.clone()),
        ("application/x-yaml", yaml.clone()),
        ("TEXT/YAML", yaml.clone()),
        ("text/x-yaml", yaml.clone()),
        (FORM, form(&[("note", "x"), ("pricing", &yaml)])),
    ] {
        let (status, service) = answer(server.post("/services", content_type, body)).await;
        assert_eq!(status, 201, "{content_type}: {service}");
        let file = server
            .request("GET", "/services/Ways/pricings/1")
            .header("accept", "application/yaml");
        let file = file.send().await.expect("an answer");
        assert_eq!(file.headers()["content-type"], "application/yaml");
        assert_eq!(file.text().await.expect("a text"), yaml);
        let document = server.get("/services/Ways/pricings/1").await;
        assert_eq!(document["saasName"], "Ways");
        assert_eq!(document["version"], "1");
        assert_eq!(document["createdAt"], "2024-03-05T00:00:00.000Z");
        assert_eq!(server.call("DELETE", "/services").await.0, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_largest_pricing_fits() {
    let server = Server::start().await;
    let mut yaml = pricing("Large", "1");
    while yaml.len() < TWO_MIB {
        let line = (TWO_MIB - yaml.len()).min(1000);
        yaml += &format!("{}\n", "#".repeat(line - 1));
    }
    assert_eq!(yaml.len(), TWO_MIB);
    assert_eq!(
        answer(server.post("/services", FORM, form(&[("pricing", &yaml)])))
            .await
            .0,
        201
    );
    let longer = format!("{yaml}\n");
    for request in [
        server.post("/services", FORM, form(&[("pricing", &longer)])),
        server.post("/services", "application/yaml", longer.as_str()),
        server.post("/services", "application/yaml", longer.repeat(3)),
        server.post("/services", "application/json", longer.as_str()),
    ] {
        assert_eq!(answer(request).await.0, 413);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_upload_is_refused() {
    let server = Server::start().await;
    let yaml = &pricing("Ways", "1");
    let deep = "[".repeat(100_000);
    for (content_type, body, status) in [
        (
            FORM,
            form(&[("pricing", yaml), ("pricing", yaml)]).as_str(),
            400,
        ),
        (FORM, &form(&[("price", yaml)]), 400),
        (FORM, &form(&[]), 400),
        (FORM, &form(&[("pricing", "")]), 400),
        (FORM, "--b\r\nxx", 400),
        (FORM, "junk", 400),
        (FORM, "", 400),
        ("multipart/form-data", "", 400),
        ("application/yaml", "", 400),
        ("application/yaml", "saasName: [", 400),
        ("application/yaml", &deep, 400),
        ("text/plain", yaml, 415),
        ("application/x-www-form-urlencoded", yaml, 400),
        ("application/x-www-form-urlencoded", "", 400),
        (
            "application/x-www-form-urlencoded",
            "pricing=http%3A%2F%2F127.0.0.1%3A1%2F",
            400,
        ),
        ("ÿ", yaml, 415),
        ("application/json", r#"{"pricing":5}"#, 400),
        ("application/json", r#"{"pricing":null}"#, 400),
        ("application/json", "{}", 400),
        ("application/json", "[]", 400),
        ("application/json", "\"x\"", 400),
        ("application/json", "", 400),
        ("application/json", "{", 400),
        ("application/json", &deep, 400),
        ("application/json", r#"{"pricing":"http://x/\u0000"}"#, 400),
        ("application/json", r#"{"pricing":"not a url"}"#, 400),
        (
            "application/json",
            r#"{"pricing":"http://127.0.0.1:1/"}"#,
            400,
        ),
    ] {
        let (answered, error) = answer(server.post("/services", content_type, body)).await;
        assert_eq!(answered, status, "{content_type} {:.80}: {error}", body);
    }
    assert_eq!(
        answer(server.request("POST", "/services").body(yaml.clone()))
            .await
            .0,
        415
    );
    assert_eq!(server.call("POST", "/services").await.0, 415);
    let compressed = server
        .post("/services", "application/yaml", yaml)
        .header("content-encoding", "gzip");
    assert_eq!(answer(compressed).await.0, 415);
    assert_eq!(server.get("/services").await, json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pricing_by_url_is_listed_with_its_url() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let host = listener.local_addr().expect("an address").to_string();
    let files = Router::new()
        .route("/good.yml", get(async || pricing("ByUrl", "1")))
        .route("/bad.yml", get(async || "no pricing"));
    tokio::spawn(async move { axum::serve(listener, files).await });
    let settings = Settings {
        pricing_url_allow: Some(host.clone()),
        ..Settings::default()
    };
    let server = Server::start_with(settings).await;
    let post = async |path: &str| {
        let url = format!("http://{host}/{path}");
        answer(server.post(
            "/services",
            "application/json",
            json!({ "pricing": url }).to_string(),
        ))
        .await
    };
    let (status, service) = post("good.yml").await;
    assert_eq!(status, 201, "{service}");
    assert_eq!(
        service["activePricings"],
        json!({"1": {"url": format!("http://{host}/good.yml")}})
    );
    assert_eq!(post("good.yml").await.0, 409);
    assert_eq!(server.call("DELETE", "/services").await.0, 200);
    let encoded = format!("note=x&pricing=http%3A%2F%2F{host}%2Fgood.yml");
    let encoded = server.post("/services", "application/x-www-form-urlencoded", encoded);
    let (status, again) = answer(encoded).await;
    assert_eq!(status, 201, "{again}");
    assert_eq!(again["activePricings"], service["activePricings"]);
    assert_eq!(post("bad.yml").await.0, 400);
    assert_eq!(post("none.yml").await.0, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_where_its_public_url_says() {
    let server = Server::start().await;
    let yaml = pricing("a/b é", "2024 %?");
    assert_eq!(server.upload("/services", "a/b é", "2024 %?").await.0, 201);
    for prefix in ["", "/api/v1"] {
        let pricing = format!("{prefix}/services/A%2fb%20%C3%A9/pricings/2024%20%25%3F");
        let body = server.get(&format!("{pricing}/public-url")).await;
        let path = "/api/v1/services/A%2Fb%20%C3%A9/pricings/2024%20%25%3F?format=yaml";
        let url = format!("http://{}{path}", server.app.address);
        assert_eq!(body, json!({ "path": path, "url": url }));
        let file = server.request("GET", path).send().await.expect("an answer");
        assert_eq!(file.headers()["content-type"], "application/yaml");
        assert_eq!(file.text().await.expect("a file"), yaml);
        let json = server.get(&format!("{pricing}?format=json")).await;
        assert_eq!(json["saasName"], "a/b é");
        let behind = server
            .request("GET", &format!("{pricing}/public-url/"))
            .header("x-forwarded-proto", "https")
            .header("host", "localhost:1");
        let (status, body) = answer(behind).await;
        assert_eq!(
            (status, &body["url"]),
            (200, &json!(format!("https://localhost:1{path}")))
        );
    }
    server
        .database
        .sql("insert into pricings (service_name, version) values ('a/b é', 'by hand')")
        .await;
    for path in [
        "/services/a%2fb%20%C3%A9/pricings/by%20hand",
        "/services/none/pricings/1",
        "/services/a%2fb%20%C3%A9/pricings/none",
    ] {
        let (status, body) = server.call("GET", &format!("{path}/public-url")).await;
        assert_eq!(status, 404);
        assert!(
            body["error"]
                .as_str()
                .expect("a sentence")
                .contains("not found"),
            "{body}"
        );
    }
}
