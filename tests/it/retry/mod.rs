mod axum;
mod bodies;
mod decisions;
mod laws;
mod service;
mod tower;
mod waits;
