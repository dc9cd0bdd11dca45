//! What a bucket allows: windows, concurrency, and how both are measured.

mod builder;
mod chain;
mod forecast;
mod text;
mod window;

pub use self::{
    builder::{MAX_WINDOWS, Quota},
    forecast::{Forecast, QuotaLimit},
    text::InvalidQuota,
    window::Window,
};

#[cfg(feature = "serde")]
pub(crate) use self::text::{read_duration, write_duration};
