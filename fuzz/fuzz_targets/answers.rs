//! An answer of a server.

#![no_main]

#[path = "../../tests/it/feedback/arbitrary_bytes/entry.rs"]
#[allow(dead_code)]
mod entry;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| entry::answers(bytes));
