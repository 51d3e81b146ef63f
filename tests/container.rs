//! The container, as far as it can be tried where no container runs: the health
//! check, and whether `Dockerfile` and `compose.yaml` name what there is.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::Output;

use clap::CommandFactory as _;
use serde_json::Value;
use space_events::config::CommandLine;

use crate::support::program::command;
use crate::support::{Database, Program};

const DOCKERFILE: &str = include_str!("../Dockerfile");
const COMPOSE: &str = include_str!("../compose.yaml");
const IGNORED: &str = include_str!("../.dockerignore");

fn healthcheck<'a>(settings: impl IntoIterator<Item = (&'a str, &'a str)>) -> Output {
    let mut command = command();
    command.arg("healthcheck").envs(settings);
    command.output().expect("it runs")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_health_check_tells_whether_the_program_serves() {
    let database = Database::create().await;
    for (host, keys) in [("0.0.0.0", "secret:ALL"), ("localhost", "")] {
        let settings = [("HOST", host), ("API_KEYS", keys)];
        let mut program =
            Program::start(&[settings[0], settings[1], ("DATABASE_URL", &database.url)]);
        let port = program.address().port().to_string();
        let asked = || healthcheck(settings.into_iter().chain([("PORT", port.as_str())]));
        let output = asked();
        assert!(output.status.success(), "{host}: {output:?}");
        assert!(
            output.stdout.is_empty() && output.stderr.is_empty(),
            "{output:?}"
        );
        program.signal("-TERM");
        program.wait();
        assert!(said(&asked()).contains("no answer from"), "{host}");
    }
}

#[test]
fn the_health_check_is_not_content_with_any_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener
        .local_addr()
        .expect("an address")
        .port()
        .to_string();
    for answer in ["HTTP/1.1 503 Service Unavailable\r\n\r\n", "200\r\n", ""] {
        let asked = std::thread::spawn({
            let port = port.clone();
            move || healthcheck([("PORT", port.as_str())])
        });
        let (mut peer, _) = listener.accept().expect("the check connects");
        let mut head = [0; 512];
        let read = peer.read(&mut head).expect("a request");
        assert!(head[..read].starts_with(b"GET /api/v1/healthcheck HTTP/1.1\r\n"));
        peer.write_all(answer.as_bytes()).expect("an answer");
        drop(peer);
        let output = asked.join().expect("it runs");
        assert!(said(&output).contains(answer.trim()), "{output:?}");
    }
}

#[test]
fn compose_gives_settings_that_the_program_has() {
    let compose: Value = serde_saphyr::from_str(COMPOSE).expect("YAML");
    let program = &compose["services"]["space-events"];
    let postgres = &compose["services"]["postgres"];
    let known: Vec<String> = CommandLine::command()
        .get_arguments()
        .filter_map(|argument| argument.get_env()?.to_str().map(str::to_owned))
        .collect();
    let environment = |secrets| {
        let given = program["environment"].as_object().expect("settings");
        given
            .iter()
            .map(|(name, value)| {
                (
                    name.clone(),
                    filled_in(value.as_str().expect("text"), secrets),
                )
            })
            .collect::<BTreeMap<String, String>>()
    };
    for name in environment("x").keys() {
        assert!(known.contains(name), "{name}");
    }

    // With the secrets the settings are good; without them nothing starts.
    let ask = |settings: &BTreeMap<String, String>| {
        let settings = settings
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        said(&healthcheck(
            settings.chain([("HOST", "0.0.0.0"), ("PORT", "1")]),
        ))
    };
    let settings = environment("x:ALL");
    assert!(ask(&settings).contains("no answer from"), "{settings:?}");
    let settings = environment("");
    assert!(ask(&settings).contains("API_KEYS"), "{settings:?}");
    for (service, secret) in [(program, "API_KEYS"), (postgres, "POSTGRES_PASSWORD")] {
        let value = service["environment"][secret].as_str().expect("text");
        assert!(value.starts_with(&format!("${{{secret}:?")), "{value}");
    }

    // It waits for its database, and the two agree on how to meet.
    assert_eq!(
        program["depends_on"]["postgres"]["condition"],
        "service_healthy"
    );
    assert_eq!(postgres["healthcheck"]["test"][1], "pg_isready");
    let url = url::Url::parse(&environment("x")["DATABASE_URL"]).expect("a URL");
    assert_eq!(url.host_str(), Some("postgres"));
    assert_eq!(postgres["environment"]["POSTGRES_USER"], url.username());
    assert_eq!(postgres["environment"]["POSTGRES_DB"], url.path()[1..]);
    let volume = postgres["volumes"][0].as_str().expect("a volume");
    let (name, _) = volume.split_once(':').expect("a name and a path");
    assert!(compose["volumes"].get(name).is_some(), "{volume}");
    let published = program["ports"][0].as_str().expect("a port");
    assert!(
        published.ends_with(&format!(":{}", instruction("EXPOSE")[0])),
        "{published}"
    );
}

#[test]
fn the_image_holds_what_there_is() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for needed in [
        "Cargo.toml",
        "Cargo.lock",
        "build.rs",
        "crates",
        "src",
        "migrations",
    ] {
        assert!(root.join(needed).exists(), "{needed}");
        assert!(
            !IGNORED.lines().any(|line| line.trim_matches('/') == needed),
            "{needed}"
        );
    }
    assert!(
        IGNORED.lines().any(|line| line == "/.env"),
        "secrets stay out"
    );

    // The toolchain is new enough, and the binary is where the next step takes it.
    let image = instruction("FROM").remove(0);
    let (_, version) = image.split_once(':').expect("a tag");
    let minor = |version: &str| {
        version
            .split(['.', '-'])
            .nth(1)
            .and_then(|text| text.parse::<u32>().ok())
    };
    assert!(
        minor(version) >= minor(env!("CARGO_PKG_RUST_VERSION")),
        "{version}"
    );
    let built = Path::new(env!("CARGO_BIN_EXE_space-events"))
        .file_name()
        .expect("a name");
    let build = instruction("RUN").join(" ");
    let (_, copied) = build.split_once("&& cp ").expect("a copy");
    let [from, to] = copied.split(' ').collect::<Vec<_>>()[..] else {
        panic!("{copied}");
    };
    assert_eq!(Path::new(from), Path::new("target/dist").join(built));
    assert!(
        DOCKERFILE.contains(&format!("\nCOPY --from=build {to} {to}\n")),
        "{to}"
    );
    assert_eq!(instruction("ENTRYPOINT").join(" "), format!("[\"{to}\"]"));
    let check = instruction("HEALTHCHECK").join(" ");
    assert!(
        check.ends_with(&format!("CMD [\"{to}\", \"healthcheck\"]")),
        "{check}"
    );

    assert_eq!(instruction("ENV")[0], "HOST=0.0.0.0");
    let user: u32 = instruction("USER")[0].parse().expect("a number");
    assert_ne!(user, 0);
}

/// The one line on stderr of a run that failed.
fn said(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(text.lines().count(), 1, "{text}");
    text
}

/// A value of compose.yaml, with `secrets` for `${NAME:?…}` and the default for
/// `${NAME:-…}`.
fn filled_in(value: &str, secrets: &str) -> String {
    let mut filled = String::new();
    let mut rest = value;
    while let Some((before, after)) = rest.split_once("${") {
        let (variable, behind) = after.split_once('}').expect("an end");
        filled.push_str(before);
        match variable.split_once(":-") {
            Some((_, default)) => filled.push_str(default),
            None => filled.push_str(secrets),
        }
        rest = behind;
    }
    filled + rest
}

/// The words of the first instruction of this name.
fn instruction(name: &str) -> Vec<String> {
    let joined = DOCKERFILE.replace("\\\n", " ");
    let line = joined
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
        .unwrap_or_else(|| panic!("no {name}"));
    line.split_whitespace().map(str::to_owned).collect()
}
