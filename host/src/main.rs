//! The `callsign` program; everything is in the library.

fn main() -> std::process::ExitCode {
    callsign::main()
}
