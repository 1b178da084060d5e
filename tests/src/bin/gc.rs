//! `xcache-gc`, built for the tests.

fn main() -> std::process::ExitCode {
    xcache_gc::main()
}
