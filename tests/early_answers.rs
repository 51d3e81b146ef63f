//! An answer that comes before the body was read reaches the client all the same.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Database, Program};

/// Sends a whole body bit by bit before it looks at the answer; the answer's status.
fn send_then_read(address: SocketAddr, head: &str, bytes: usize) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    let head = format!("{head}\r\nhost: localhost\r\ncontent-length: {bytes}\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    for piece in vec![b'x'; bytes].chunks(64 * 1024) {
        // The answer is there long before.
        std::thread::sleep(Duration::from_millis(2));
        stream.write_all(piece)?;
    }
    let mut status = [0; 12];
    stream.read_exact(&mut status)?;
    Ok(String::from_utf8_lossy(&status).into_owned())
}

fn settings(database: &Database) -> [(&'static str, &str); 2] {
    [
        ("DATABASE_URL", &database.url),
        ("API_KEYS", "reads:EVALUATION,all:ALL"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn each_of_600_uploads_with_a_wrong_key_is_answered_for_node() {
    let database = Database::create().await;
    let mut program = Program::start(&settings(&database));
    let url = format!("http://{}/services", program.address());
    for (count, bytes, at_once) in [(600, 2_000, 20), (600, 60_000, 20), (60, 1_000_000, 10)] {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/uploads.mjs");
        let said = Command::new("node")
            .arg(script)
            .args([
                &url,
                &count.to_string(),
                &bytes.to_string(),
                &at_once.to_string(),
            ])
            .output()
            .expect("node runs");
        let answers: Value = serde_json::from_slice(&said.stdout).expect("JSON");
        assert_eq!(answers, json!({ "401": count }), "{bytes} bytes");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_early_answer_reaches_a_client_that_sends_first() {
    let database = Database::create().await;
    let mut program = Program::start(&settings(&database));
    let address = program.address();
    let heads = tokio::task::spawn_blocking(move || {
        for (head, bytes, status) in [
            ("POST /services HTTP/1.1", 1_000_000, 401),
            (
                "POST /services HTTP/1.1\r\nx-api-key: reads",
                1_000_000,
                403,
            ),
            ("POST /nothing HTTP/1.1", 1_000_000, 404),
            ("PATCH /services HTTP/1.1\r\nx-api-key: all", 1_000_000, 405),
            (
                "POST /services HTTP/1.1\r\nx-api-key: all\r\ncontent-type: application/yaml",
                7_000_000,
                413,
            ),
            ("POST /services HTTP/1.1\r\nx-api-key: all", 1_000_000, 415),
            (
                "DELETE /services HTTP/1.1\r\nx-api-key: all",
                1_000_000,
                200,
            ),
            ("POST /events/?EIO=4&transport=x HTTP/1.1", 1_000_000, 400),
        ] {
            let answer = send_then_read(address, head, bytes).expect(head);
            assert_eq!(answer, format!("HTTP/1.1 {status}"), "{head}");
        }
    });
    heads.await.expect("each is answered");
}
