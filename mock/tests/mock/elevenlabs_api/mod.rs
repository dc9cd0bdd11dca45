//! The mock ElevenLabs, endpoint by endpoint: as a service under paused time, and on real sockets.

mod checks;
mod control;
mod speech;
mod state;
mod support;
