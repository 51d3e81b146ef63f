//! The process: settings, logs, one command or one [`App`], until a signal.

use std::process::ExitCode;

use clap::Parser as _;
use clap::error::ErrorKind;
use tokio::signal::unix::{SignalKind, signal};

use crate::app::{self, App};
use crate::asking::{explain, healthcheck, tail};
use crate::config::{Command, CommandLine, Config, given, listen_addresses, start_log};
use crate::panics;

/// Runs the program as its command line and its environment say. What stops it is
/// one line on standard error.
#[must_use]
pub fn main() -> ExitCode {
    match start() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {}", one_line(&error));
            ExitCode::FAILURE
        }
    }
}

/// What went wrong, each cause once: some show their own cause too.
fn one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain() {
        let database = cause.downcast_ref::<sqlx::Error>();
        let database = database.and_then(sqlx::Error::as_database_error);
        let text = match database {
            None => cause.to_string(),
            // Without the line in the source code of Postgres.
            Some(error) if error.code().as_deref() == Some("42501") => {
                format!("{}; grant it, or name another user", error.message())
            }
            Some(error) => error.message().to_owned(),
        };
        if line.is_empty() {
            line = text;
        } else if !line.contains(&text) {
            line = format!("{line}: {text}");
        }
        if database.is_some() {
            break;
        }
    }
    line.replace('\n', " ")
}

fn start() -> anyhow::Result<ExitCode> {
    match dotenvy::dotenv() {
        Ok(_) => {}
        Err(error) if error.not_found() => {}
        Err(error) => anyhow::bail!(".env: {error}"),
    }
    let command_line = match CommandLine::try_parse() {
        Ok(command_line) => command_line,
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
            ) =>
        {
            error.print()?;
            return Ok(ExitCode::SUCCESS);
        }
        Err(error) => {
            let text = error.to_string();
            let line = text.lines().next().unwrap_or_default();
            anyhow::bail!("{}", line.trim_start_matches("error: "));
        }
    };
    start_log(&command_line.settings)?;
    std::panic::set_hook(Box::new(panics::log));
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(run(command_line))
}

async fn run(command_line: CommandLine) -> anyhow::Result<ExitCode> {
    // From the first moment on: a signal while the database starts is one too.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let signalled = async {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    };
    let settings = command_line.settings;
    // Whoever asks a server needs none of its settings but where it is.
    let server = listen_addresses(given(settings.host.clone()), given(settings.port.clone()));
    match command_line.command.unwrap_or(Command::Serve) {
        Command::Tail(asked) => {
            let server = server.await?;
            tokio::select! {
                ended = tail(&server, &asked) => ended?,
                () = signalled => {}
            }
        }
        Command::Explain(asked) => explain(&server.await?, &asked).await?,
        Command::Migrate => app::migrate(&Config::check(settings).await?).await?,
        Command::Healthcheck => {
            healthcheck::check(&Config::check(settings).await?.listen).await?;
        }
        Command::Serve => {
            let app = App::start(Config::check(settings).await?).await?;
            app.run_until(signalled).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
