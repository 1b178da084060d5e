//! See `xcache_tests::fuzz::end`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| xcache_tests::fuzz::end(data));
