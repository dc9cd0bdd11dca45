use std::{any::Any, fmt, sync::Arc};

use bytes::Bytes;
use http_body_util::{Empty, Full};

use super::collect::{Collecting, ReplayBody};
use crate::BoxError;

/// How request bodies become more than one, by their type.
#[derive(Clone, Default)]
pub(super) struct Bodies {
    /// Each a [`Way`] of some type. The later one counts.
    ways: Vec<Arc<dyn Any + Send + Sync>>,
}

enum Way<B> {
    Copy(Copy<B>),
    Collect(Collect<B>),
}

type Copy<B> = Box<dyn Fn(&B) -> Option<B> + Send + Sync>;
type Collect<B> = Box<dyn Fn(B) -> Collecting<B> + Send + Sync>;

/// What the next attempt's body is made from.
pub(super) enum Spare<B> {
    Copy(B),
    Rebuild(Box<dyn Fn() -> B + Send + Sync>),
}

/// A request's body, before the first attempt.
pub(super) enum Plan<B> {
    /// It cannot be sent again.
    Once(B),
    /// It can: this is the copy.
    Spared(B, Spare<B>),
    /// It will be known when the body has been read.
    Collect(Collecting<B>),
}

impl Bodies {
    pub(super) fn copy_with<B: 'static>(
        &mut self,
        copy: impl Fn(&B) -> Option<B> + Send + Sync + 'static,
    ) {
        self.ways.push(Arc::new(Way::Copy(Box::new(copy))));
    }

    pub(super) fn collect_with<B>(
        &mut self,
        cap: usize,
        rebuild: impl Fn(ReplayBody<B>) -> B + Send + Sync + 'static,
    ) where
        B: http_body::Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<BoxError> + Send,
    {
        let rebuild = Arc::new(rebuild);
        let collect = move |body| Collecting::new(body, cap, Arc::clone(&rebuild));
        self.ways.push(Arc::new(Way::Collect(Box::new(collect))));
    }

    fn way<B: 'static>(&self) -> Option<&Way<B>> {
        let mut ways = self.ways.iter().rev();
        ways.find_map(|way| (**way).downcast_ref())
    }

    pub(super) fn plan<B: 'static>(&self, body: B) -> Plan<B> {
        match self.way() {
            Some(Way::Collect(collect)) => Plan::Collect(collect(body)),
            _ => match self.copy(&body) {
                Some(copy) => Plan::Spared(body, Spare::Copy(copy)),
                None => Plan::Once(body),
            },
        }
    }

    /// `None` if nobody has said that a copy of this body is as good as the body. That it is `Clone`
    /// proves nothing: the clones may share one stream.
    pub(super) fn copy<B: 'static>(&self, body: &B) -> Option<B> {
        match self.way() {
            Some(Way::Copy(copy)) => copy(body),
            Some(Way::Collect(_)) => None,
            None => copy_as::<(), B>(body)
                .or_else(|| copy_as::<Empty<Bytes>, B>(body))
                .or_else(|| copy_as::<Full<Bytes>, B>(body))
                .or_else(|| copy_as::<Bytes, B>(body))
                .or_else(|| copy_as::<String, B>(body))
                .or_else(|| copy_as::<&'static str, B>(body))
                .or_else(|| copy_as::<Vec<u8>, B>(body)),
        }
    }
}

/// A copy, if `B` is `T`, which the compiler knows wherever this is used.
fn copy_as<T: Clone + 'static, B: 'static>(body: &B) -> Option<B> {
    let body: &T = (body as &dyn Any).downcast_ref()?;
    let mut copy = Some(body.clone());
    let copy: &mut Option<B> = (&mut copy as &mut dyn Any).downcast_mut()?;
    copy.take()
}

impl fmt::Debug for Bodies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bodies")
            .field("registered", &self.ways.len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copies<B: 'static>(body: B) -> bool {
        matches!(Bodies::default().plan(body), Plan::Spared(..))
    }

    #[test]
    fn the_built_in_types_are_copied() {
        assert!(copies(()));
        assert!(copies(Empty::<Bytes>::new()));
        assert!(copies(Full::new(Bytes::from("x"))));
        assert!(copies(Bytes::from("x")));
        assert!(copies(String::from("x")));
        assert!(copies("x"));
        assert!(copies(vec![1_u8]));
    }

    #[test]
    fn a_type_that_is_clone_is_not_copied_for_that() {
        assert!(!copies(7_u32));
        assert!(!copies(Full::new(std::collections::VecDeque::from([1_u8]))));
    }

    #[test]
    fn a_registered_type_is_copied() {
        let mut bodies = Bodies::default();
        bodies.copy_with(|&number: &u32| (number < 10).then_some(number));
        assert!(matches!(
            bodies.plan(7_u32),
            Plan::Spared(7, Spare::Copy(7))
        ));
        assert!(matches!(bodies.plan(70_u32), Plan::Once(70)));
        assert!(matches!(bodies.plan(7_u64), Plan::Once(7)));
    }

    #[test]
    fn what_is_registered_comes_before_what_is_built_in() {
        let mut bodies = Bodies::default();
        bodies.copy_with(|_: &String| None);
        assert!(matches!(bodies.plan(String::new()), Plan::Once(_)));
    }
}
