//! What rate-limited APIs allow, by plan, as plain tables.
//!
//! For `tower-throttle`, which makes endpoints of them, and for `tower-throttle-mock`, which refuses by them and shares no
//! other code with it.

pub mod elevenlabs;
