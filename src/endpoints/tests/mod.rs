//! Which endpoint a request belongs to, from templates to buckets.

mod building;
mod closures;
mod hostile;
mod keys;
mod names;
mod oracle;
mod order;
mod partitions;
mod precedence;
mod scale;
mod scopes;
mod spelling;
pub(super) mod steps;
mod tiers;

use std::{
    borrow::Cow,
    collections::BTreeSet,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use http::{HeaderValue, Method, Request, Uri};
use proptest::{prelude::*, sample::select};

use super::*;
use crate::Quota;

fn ask(request: &str) -> Request<()> {
    let (method, uri) = request.split_once(' ').unwrap_or(("GET", request));
    Request::builder().method(method).uri(uri).body(()).unwrap()
}

fn found(routes: &Routes, request: &Request<()>) -> String {
    let target = routes.resolve(request).unwrap();
    routes.spec(target.spec).name.to_string()
}

/// The scopes of a request from the narrowest on, with all that matters about them.
fn scopes(routes: &Routes, request: &Request<()>) -> Vec<(String, Quota, SpecKind)> {
    let mut next = Some(routes.resolve(request).unwrap().spec);
    let mut scopes = Vec::new();
    while let Some(id) = next {
        let spec = &routes.specs()[id.0 as usize];
        scopes.push((spec.name.to_string(), spec.quota.clone(), spec.kind));
        next = spec.parent;
    }
    scopes
}

fn routes(templates: &[&str]) -> Routes {
    templates
        .iter()
        .fold(Endpoints::new(), |endpoints, template| {
            endpoints.route(template, Quota::per_second(1))
        })
        .compile()
}

#[track_caller]
fn assert_found(routes: &Routes, request: &str, expected: &str) {
    assert_eq!(found(routes, &ask(request)), expected, "{request}");
}

#[track_caller]
fn panics_with<T>(build: impl FnOnce() -> T, expected: &str) {
    let Err(panic) = catch_unwind(AssertUnwindSafe(build)) else {
        panic!("expected a panic with {expected:?}");
    };
    assert_eq!(panic.downcast_ref::<String>().unwrap(), expected);
}

fn key<'r>(routes: &Routes, request: &'r Request<()>) -> (Cow<'r, str>, Cow<'r, str>) {
    let key = routes.resolve(request).unwrap().key.unwrap();
    (key.host, key.path)
}
