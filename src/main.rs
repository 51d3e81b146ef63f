//! The program. All of it is in the library, so that it is compiled once.

use std::process::ExitCode;

fn main() -> ExitCode {
    space_events::process::main()
}
