//! What members tell each other by way of the store: pauses and what was learned.

use crate::protocol::{Lesson, Micros, News, Scope, ScopeAnswer};

use super::{MEMORY, scope::ScopeState};

/// A pause that grows by less is no news for members that are not asking.
const NEWS: Micros = 20_000;

/// At most this many subjects; the one that is spoken of least recently gives way.
const MOST_LESSONS: usize = 16;

#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default)
)]
pub(super) struct Shared {
    /// The pause's end; 0 for none.
    pub(super) paused_until: Micros,
    /// When a pause was last ended by hand; 0 for never.
    generation: Micros,
    lessons: Vec<Learned>,
}

#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
struct Learned {
    subject: String,
    value: i64,
    /// When it was said last.
    version: Micros,
}

impl Shared {
    pub(super) fn forget(&mut self, now: Micros) {
        if self.paused_until <= now {
            self.paused_until = 0;
        }
        if self.generation + MEMORY < now {
            self.generation = 0;
        }
        self.lessons.retain(|lesson| lesson.version + MEMORY >= now);
    }

    pub(super) fn is_over(&self, now: Micros) -> bool {
        self.paused_until <= now
            && self.generation + MEMORY < now
            && self
                .lessons
                .iter()
                .all(|lesson| lesson.version + MEMORY < now)
    }
}

impl ScopeState {
    /// Takes over what the member says, and notes what all should know.
    pub(super) fn share(&mut self, scope: &Scope, now: Micros, news: &mut Vec<News>) {
        let shared = &mut self.shared;
        // After the store forgot, members bring the generation back.
        if scope.generation > shared.generation && scope.generation <= now + MEMORY {
            shared.generation = scope.generation;
            shared.paused_until = 0;
        }
        let current = scope.generation >= shared.generation;
        let before = shared.paused_until.max(now);
        if let Some(pause) = scope.pause.filter(|_| current) {
            shared.paused_until = shared.paused_until.max(now + pause);
        }
        if scope.resume && current {
            shared.paused_until = 0;
            // Never the same twice, even within an instant.
            shared.generation = now.max(shared.generation + 1);
            self.moved = true;
        }
        let after = shared.paused_until.max(now);
        if scope.resume && current || after > before + NEWS {
            news.push(News::Pause {
                scope: scope.name.clone(),
                left: after - now,
                generation: shared.generation,
            });
        }
        let last = shared.lessons.iter().map(|lesson| lesson.version).max();
        let version = now.max(last.unwrap_or(0) + 1);
        for lesson in &scope.lessons {
            shared
                .lessons
                .retain(|known| known.subject != lesson.subject);
            shared.lessons.push(Learned {
                subject: lesson.subject.clone(),
                value: lesson.value,
                version,
            });
            if shared.lessons.len() > MOST_LESSONS {
                shared.lessons.remove(0);
            }
        }
    }

    /// What the store knows and the member may not.
    pub(super) fn tell(&self, scope: &Scope, now: Micros) -> ScopeAnswer {
        let shared = &self.shared;
        let newer = shared
            .lessons
            .iter()
            .filter(|lesson| lesson.version > scope.heard);
        ScopeAnswer {
            paused: (shared.paused_until - now).max(0),
            generation: shared.generation,
            assert: false,
            version: shared
                .lessons
                .iter()
                .map(|lesson| lesson.version)
                .max()
                .unwrap_or(0),
            lessons: newer
                .map(|lesson| Lesson {
                    subject: lesson.subject.clone(),
                    value: lesson.value,
                })
                .collect(),
        }
    }
}
