//! What members tell each other by way of the store: pauses and what was learned.

use crate::protocol::{Lesson, Micros, News, Scope, ScopeAnswer};

use super::MEMORY;

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

    /// Takes over what the member says, and notes what all should know. Returns whether a pause was ended by hand.
    pub(super) fn hear(&mut self, scope: &Scope, now: Micros, news: &mut Vec<News>) -> bool {
        // After the store forgot, members bring the generation back.
        if scope.generation > self.generation && scope.generation <= now + MEMORY {
            self.generation = scope.generation;
            self.paused_until = 0;
        }
        let current = scope.generation >= self.generation;
        let before = self.paused_until.max(now);
        if let Some(pause) = scope.pause.filter(|_| current) {
            self.paused_until = self.paused_until.max(now + pause);
        }
        if scope.resume && current {
            self.paused_until = 0;
            // Never the same twice, even within an instant.
            self.generation = now.max(self.generation + 1);
        }
        let after = self.paused_until.max(now);
        if scope.resume && current || after > before + NEWS {
            news.push(News::Pause {
                scope: scope.name.clone(),
                left: after - now,
                generation: self.generation,
            });
        }
        let last = self.lessons.iter().map(|lesson| lesson.version).max();
        let version = now.max(last.unwrap_or(0) + 1);
        for lesson in &scope.lessons {
            self.lessons.retain(|known| known.subject != lesson.subject);
            self.lessons.push(Learned {
                subject: lesson.subject.clone(),
                value: lesson.value,
                version,
            });
            if self.lessons.len() > MOST_LESSONS {
                self.lessons.remove(0);
            }
        }
        scope.resume && current
    }

    /// What the store knows and the member may not.
    pub(super) fn tell(&self, scope: &Scope, now: Micros) -> ScopeAnswer {
        let newer = self
            .lessons
            .iter()
            .filter(|lesson| lesson.version > scope.heard);
        ScopeAnswer {
            paused: (self.paused_until - now).max(0),
            generation: self.generation,
            assert: false,
            version: self
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
