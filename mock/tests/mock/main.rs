//! The judge, and the mocks that are made with it.

mod answers;
mod elevenlabs;
mod elevenlabs_api;
mod faults;
mod judge;
mod llm;
mod llm_sdk;
mod pools;
mod score;
mod server;
mod server_options;
mod support;
mod units;
