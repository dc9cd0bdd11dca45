//! Tests of the engine from within: what no caller can see.

mod bounded;
mod crowd;
mod joint;
mod late;
mod passing;
