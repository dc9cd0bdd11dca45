//! What callers see of the layers, a module for each subject.

mod bodies;
mod contract;
mod costs;
mod events;
mod feedback;
mod fleet;
mod keys;
mod observed;
mod order;
mod project;
mod queue;
mod regressions;
mod retry;
mod retry_support;
mod scripted;
#[path = "../support/mod.rs"]
mod support;
mod window;
