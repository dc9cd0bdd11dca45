use super::tick::Span;
use crate::quota::Quota;

/// A quota as a bucket applies it: what the engine's face leaves switched on, margins included.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rules {
    windows: Box<[Rule]>,
    concurrency: Option<usize>,
    release_at_head: bool,
}

/// At most `n` dispatches in any half-open interval of length `span`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rule {
    pub(crate) n: u32,
    pub(crate) span: Span,
}

/// Which of a quota's two kinds of limit an engine enforces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Face {
    pub(crate) windows: bool,
    pub(crate) permits: bool,
}

impl Rules {
    pub(crate) fn new(quota: &Quota, face: Face) -> Self {
        let margin = quota.window_margin();
        let windows = quota
            .windows()
            .iter()
            .filter(|_| face.windows)
            .map(|window| Rule {
                n: window.n,
                span: window.period.saturating_add(margin).into(),
            })
            .collect();
        Self {
            windows,
            concurrency: quota.concurrency_limit().filter(|_| face.permits),
            release_at_head: quota.releases_at_head(),
        }
    }

    pub(crate) fn windows(&self) -> &[Rule] {
        &self.windows
    }

    pub(crate) fn concurrency(&self) -> Option<usize> {
        self.concurrency
    }

    pub(crate) fn releases_at_head(&self) -> bool {
        self.release_at_head
    }

    /// How many of a bucket's latest stamps matter.
    pub(crate) fn depth(&self) -> usize {
        self.windows
            .iter()
            .map(|rule| rule.n as usize)
            .max()
            .unwrap_or(0)
    }

    /// For how long a stamp can matter.
    pub(crate) fn longest(&self) -> Span {
        self.windows
            .iter()
            .map(|rule| rule.span)
            .max()
            .unwrap_or(Span::ZERO)
    }
}
