//! A panic is a line in the log like any other failure.

use std::panic::PanicHookInfo;

use tracing::error;

/// Writes a panic into the log; for [`std::panic::set_hook`].
pub fn log(panic: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    error!(
        error = panic.payload_as_str().unwrap_or("no text"),
        location = panic.location().map(ToString::to_string),
        thread = thread.name(),
        "a part of the program panicked"
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("no panic here").write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_panic_is_logged_in_one_line_with_its_place() {
        let lines = Lines::default();
        let writer = lines.clone();
        let log_lines = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        // Other tests go on to say in their own way why they fail.
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            log(panic);
            usual(panic);
        }));
        tracing::subscriber::with_default(log_lines, || {
            let panicked = std::panic::catch_unwind(|| panic!("no such {}", "thing"));
            panicked.expect_err("a panic");
        });
        let text = lines.0.lock().expect("no panic here").clone();
        let text = String::from_utf8(text).expect("text");
        assert_eq!(text.lines().count(), 1, "{text}");
        for part in [" ERROR ", "error=\"no such thing\"", "src/panics.rs:"] {
            assert!(text.contains(part), "{text}");
        }
    }
}
