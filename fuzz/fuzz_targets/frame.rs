//! See `xcache_tests::fuzz::frame`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| xcache_tests::fuzz::frame(data));
