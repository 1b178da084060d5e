//! `xcache-save`, built for the tests.

fn main() -> std::process::ExitCode {
    xcache_save::main()
}
