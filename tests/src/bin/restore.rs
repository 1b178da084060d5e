//! `xcache-restore`, built for the tests.

fn main() -> std::process::ExitCode {
    xcache_restore::main()
}
