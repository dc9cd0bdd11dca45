use std::fmt;

/// Which of the requests that wait at an endpoint goes first: a higher class before a lower one, whatever their age.
///
/// State it in the [`Terms`](crate::Terms) of a request, or with `priority_by` of the layer. What a lower class gets
/// while a higher one has a backlog says `priority_floor` of the layer: by default one eighth.
///
/// ```
/// use tower_throttle::Priority;
///
/// assert!(Priority::HIGH > Priority::NORMAL && Priority::NORMAL > Priority::LOW);
/// assert_eq!(Priority::default(), Priority::NORMAL);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Priority(u8);

impl Priority {
    /// Somebody waits for the answer: an interactive request.
    pub const HIGH: Self = Self(2);

    /// What a request has that states nothing.
    pub const NORMAL: Self = Self(1);

    /// It can wait: a batch.
    pub const LOW: Self = Self(0);

    /// The highest first.
    pub(crate) const ALL: [Self; 3] = [Self::HIGH, Self::NORMAL, Self::LOW];

    /// Its place in [`ALL`](Self::ALL).
    #[inline]
    pub(crate) const fn place(self) -> usize {
        2 - self.0 as usize
    }
}

impl Default for Priority {
    fn default() -> Self {
        Self::NORMAL
    }
}

impl fmt::Debug for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match *self {
            Self::HIGH => "Priority::HIGH",
            Self::NORMAL => "Priority::NORMAL",
            _ => "Priority::LOW",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stands_at_its_place() {
        for (place, priority) in Priority::ALL.into_iter().enumerate() {
            assert_eq!(priority.place(), place);
        }
    }
}
