//! Which template a request belongs to: the host decides first, then the [`Trie`].

use std::collections::BTreeMap;

use http::Method;

use super::{
    authority::Authority,
    spec::SpecId,
    template::Template,
    trie::{Passed, Trie},
};
use crate::request_head::RequestHead;

#[derive(Debug, Default)]
pub(super) struct Router {
    hosts: BTreeMap<Box<str>, Host>,
    /// The templates without a host.
    any_host: Trie,
}

#[derive(Debug, Default)]
struct Host {
    /// The templates with a port.
    ports: BTreeMap<u16, Trie>,
    any_port: Trie,
}

impl Router {
    /// Adds a template; no other of the same shape was added before.
    pub(super) fn insert(&mut self, template: &Template, spec: SpecId) {
        let trie = match &template.host {
            None => &mut self.any_host,
            Some(host) => {
                let of_host = self.hosts.entry(host.name.clone()).or_default();
                match host.port {
                    None => &mut of_host.any_port,
                    Some(port) => of_host.ports.entry(port).or_default(),
                }
            }
        };
        trie.insert(&template.segments, template.method.as_ref(), spec);
    }

    /// The best match for a request with this path, in the sense of [`Trie::find`].
    #[expect(
        clippy::inline_always,
        reason = "of most, the search of one trie is left"
    )]
    #[inline(always)]
    pub(super) fn find(&self, head: &RequestHead<'_>, path: &str) -> Option<SpecId> {
        // Most users talk to one host and name none; they do not pay for looking at it.
        if self.hosts.is_empty() {
            return self.any_host.find(path, head.method(), Passed::Nothing);
        }
        Authority::of(head)
            .and_then(|authority| self.find_host(&authority, path, head.method()))
            .or_else(|| self.any_host.find(path, head.method(), Passed::Something))
    }

    fn find_host(&self, authority: &Authority<'_>, path: &str, method: &Method) -> Option<SpecId> {
        let host = self.hosts.get(authority.host())?;
        let mut passed = Passed::Nothing;
        for port in authority.ports() {
            if let Some(trie) = host.ports.get(&port) {
                if let Some(found) = trie.find(path, method, passed) {
                    return Some(found);
                }
                passed = Passed::Something;
            }
        }
        host.any_port.find(path, method, passed)
    }
}
