//! A layer's [`Classify`], as it asks it.

use std::{any::Any, fmt, sync::Arc, time::Duration};

use http::Response;

use super::{
    answer::Answer, classify::Classify, meaning::Signal, profile::Profile, report::QuotaReport,
};

/// A layer's [`Classify`].
#[derive(Clone)]
pub(crate) enum Classifier {
    /// By itself, as nearly all layers have one, and it can tell most answers by a look at the status.
    Profile(Profile),
    Other(Arc<dyn Classify>),
}

impl Classifier {
    pub(crate) fn new<C: Classify>(classify: C) -> Self {
        match (&classify as &dyn Any).downcast_ref() {
            Some(&profile) => Self::Profile(profile),
            None => Self::Other(Arc::new(classify)),
        }
    }

    pub(crate) fn get(&self) -> &dyn Classify {
        match self {
            Self::Profile(profile) => profile,
            Self::Other(classify) => &**classify,
        }
    }

    /// Whether an answer may be a refusal, or has been found to be one. Most can be told by the status.
    #[inline]
    pub(crate) fn may_refuse<B>(&self, response: &Response<B>) -> bool {
        let by_status = match self {
            Self::Profile(profile) => profile.may_refuse(response.status()),
            Self::Other(_) => true,
        };
        by_status || response.extensions().get::<Signal>().is_some()
    }

    /// What an answer that is no refusal says about what is left.
    #[inline]
    pub(crate) fn quota<B>(&self, response: &Response<B>) -> Option<QuotaReport> {
        let headers = response.headers();
        if let &Self::Profile(profile) = self {
            if headers.is_empty() || profile.tells_none(headers) {
                return None;
            }
        }
        self.read_quota(response)
    }

    #[cold]
    fn read_quota<B>(&self, response: &Response<B>) -> Option<QuotaReport> {
        let answer = Answer::arriving(response.status(), response.headers());
        match self {
            Self::Profile(profile) => profile.told_quota(&answer),
            Self::Other(classify) => classify.quota(&answer),
        }
    }

    /// The delay that a refusal names in its head.
    pub(crate) fn delay<B>(&self, response: &Response<B>) -> Option<Duration> {
        let signal = self.by_head(response)?;
        signal.retry_after()
    }

    /// What the head of an answer means by itself.
    pub(crate) fn by_head<B>(&self, response: &Response<B>) -> Option<Signal> {
        self.get()
            .classify(&Answer::arriving(response.status(), response.headers()))
    }
}

impl Default for Classifier {
    fn default() -> Self {
        Self::new(Profile::Standard)
    }
}

impl fmt::Debug for Classifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Classifier(..)")
    }
}
