//! A rate-limited API that judges its client.

mod answers;
mod judge;
mod ledger;
mod limit;
mod path;
mod report;
mod service;
mod work;

pub use self::{
    answers::{Received, Refusal},
    judge::{Judge, JudgeBuilder},
    limit::Limit,
    report::{EndpointReport, Record, RefusedBy, Report, Verdict, Violation},
    service::{Body, ResponseFuture},
    work::{Draws, Work},
};
