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
        let body = match self.way() {
            Some(Way::Collect(collect)) => return Plan::Collect(collect(body)),
            Some(Way::Copy(_)) => body,
            None => match share(body) {
                Ok((body, spare)) => return Plan::Spared(body, spare),
                Err(body) => body,
            },
        };
        match self.copy(&body) {
            Some(copy) => Plan::Spared(body, Spare::Copy(copy)),
            None => Plan::Once(body),
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
                .or_else(|| copy_as::<Vec<u8>, B>(body))
                .or_else(|| copy_of_reqwest(body)),
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

/// A body of reqwest's, if it is in memory. Copies its bytes, which cannot be had otherwise from a
/// reference.
#[cfg(feature = "reqwest")]
fn copy_of_reqwest<B: 'static>(body: &B) -> Option<B> {
    let body: &reqwest::Body = (body as &dyn Any).downcast_ref()?;
    let copy = Bytes::copy_from_slice(body.as_bytes()?);
    take(&mut Some(reqwest::Body::from(copy)))
}

#[cfg(not(feature = "reqwest"))]
fn copy_of_reqwest<B>(_: &B) -> Option<B> {
    None
}

/// A body of reqwest's that is in memory, and what to make it from again. They share their bytes.
#[cfg(feature = "reqwest")]
fn share<B: 'static>(body: B) -> Result<(B, Spare<B>), B> {
    let in_memory = (&body as &dyn Any)
        .downcast_ref()
        .and_then(reqwest::Body::as_bytes);
    if in_memory.is_none() {
        return Err(body);
    }
    let body: reqwest::Body = take(&mut Some(body)).expect(SAME);
    let bytes = crate::reqwest::only_frame(body);
    let rebuild = move || {
        let body = reqwest::Body::from(bytes.clone());
        take(&mut Some(body)).expect(SAME)
    };
    Ok((rebuild(), Spare::Rebuild(Box::new(rebuild))))
}

#[cfg(not(feature = "reqwest"))]
fn share<B>(body: B) -> Result<(B, Spare<B>), B> {
    Err(body)
}

/// The body, if it is a `T`.
#[cfg(feature = "reqwest")]
fn take<T: 'static>(body: &mut dyn Any) -> Option<T> {
    body.downcast_mut::<Option<T>>()?.take()
}

#[cfg(feature = "reqwest")]
const SAME: &str = "the body is one of reqwest's";

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

    #[cfg(feature = "reqwest")]
    #[test]
    fn a_body_of_reqwests_is_shared_if_it_is_in_memory() {
        let bytes = Bytes::from(vec![1; 100]);
        let body = reqwest::Body::from(bytes.clone());
        let Plan::Spared(body, Spare::Rebuild(rebuild)) = Bodies::default().plan(body) else {
            panic!("it is in memory");
        };
        for body in [body, rebuild(), rebuild()] {
            assert_eq!(body.as_bytes().unwrap().as_ptr(), bytes.as_ptr());
            assert_eq!(body.as_bytes().unwrap(), bytes);
        }
        assert!(copies(reqwest::Body::default()));
        assert!(!copies(reqwest::Body::wrap(Full::new(bytes.clone()))));

        // tower's own retry has but a reference.
        let copy = |body| Bodies::default().copy::<reqwest::Body>(&body);
        let copied = copy(bytes.clone().into()).unwrap();
        assert_eq!(copied.as_bytes().unwrap(), bytes);
        assert!(copy(reqwest::Body::wrap(Full::new(bytes))).is_none());
    }

    #[cfg(feature = "reqwest")]
    #[test]
    fn what_is_registered_comes_before_reqwests_own() {
        let mut bodies = Bodies::default();
        bodies.copy_with(|_: &reqwest::Body| None);
        assert!(matches!(
            bodies.plan(reqwest::Body::from("x")),
            Plan::Once(_)
        ));
    }

    #[test]
    fn what_is_registered_comes_before_what_is_built_in() {
        let mut bodies = Bodies::default();
        bodies.copy_with(|_: &String| None);
        assert!(matches!(bodies.plan(String::new()), Plan::Once(_)));
    }
}
