use std::{any::Any, fmt, sync::Arc};

use bytes::Bytes;
use http_body_util::{Empty, Full};
use tower::BoxError;

use super::{
    collect::{Collecting, ReplayBody},
    replay::Replay,
};

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
pub(super) type Collect<B> = Box<dyn Fn(B) -> Collecting<B> + Send + Sync>;

/// What is known of a request's body before the first attempt.
pub(super) enum Plan<'a, B> {
    /// It cannot be sent again.
    Once,
    /// It can, by this.
    Replay(Replay<B>),
    /// It will be known when the body has been read, in this way.
    Collect(&'a Collect<B>),
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

    #[inline]
    pub(super) fn plan<B: 'static>(&self, body: &mut B) -> Plan<'_, B> {
        let shared = match self.way() {
            Some(Way::Collect(collect)) => return Plan::Collect(collect),
            Some(Way::Copy(_)) => None,
            None => share(body),
        };
        let replay = shared.or_else(|| self.copy(body).map(Replay::Copy));
        replay.map_or(Plan::Once, Plan::Replay)
    }

    /// `None` if it is not known that a copy of this body is as good as the body. That it is `Clone`
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

/// What to make a body of reqwest's from again, if it is in memory. They share their bytes.
#[cfg(feature = "reqwest")]
fn share<B: 'static>(body: &mut B) -> Option<Replay<B>> {
    let body: &mut reqwest::Body = (body as &mut dyn Any).downcast_mut()?;
    body.as_bytes()?;
    let bytes = crate::in_memory::only_frame(std::mem::take(body));
    *body = reqwest::Body::from(bytes.clone());
    Some(Replay::Rebuild(Box::new(move || {
        let body = reqwest::Body::from(bytes.clone());
        take(&mut Some(body)).expect("the body is one of reqwest's")
    })))
}

#[cfg(not(feature = "reqwest"))]
fn share<B>(_: &mut B) -> Option<Replay<B>> {
    None
}

/// The body, if it is a `T`.
#[cfg(feature = "reqwest")]
fn take<T: 'static>(body: &mut dyn Any) -> Option<T> {
    body.downcast_mut::<Option<T>>()?.take()
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

    fn copies<B: 'static>(mut body: B) -> bool {
        matches!(Bodies::default().plan(&mut body), Plan::Replay(_))
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
            bodies.plan(&mut 7_u32),
            Plan::Replay(Replay::Copy(7))
        ));
        assert!(matches!(bodies.plan(&mut 70_u32), Plan::Once));
        assert!(matches!(bodies.plan(&mut 7_u64), Plan::Once));
    }

    #[cfg(feature = "reqwest")]
    #[test]
    fn a_body_of_reqwests_is_shared_if_it_is_in_memory() {
        let bytes = Bytes::from(vec![1; 100]);
        let mut body = reqwest::Body::from(bytes.clone());
        let Plan::Replay(Replay::Rebuild(rebuild)) = Bodies::default().plan(&mut body) else {
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
            bodies.plan(&mut reqwest::Body::from("x")),
            Plan::Once
        ));
    }

    #[test]
    fn what_is_registered_comes_before_what_is_built_in() {
        let mut bodies = Bodies::default();
        bodies.copy_with(|_: &String| None);
        assert!(matches!(bodies.plan(&mut String::new()), Plan::Once));
    }
}
