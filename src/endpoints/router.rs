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

#[derive(Debug)]
pub(super) struct Router {
    /// Sorted by [`by_len`].
    hosts: Vec<Host>,
    /// The templates without a host.
    any_host: Trie,
}

#[derive(Debug)]
struct Host {
    name: Box<str>,
    /// The templates with a port, sorted by port.
    ports: Vec<(u16, Trie)>,
    any_port: Trie,
}

/// A router to which templates are added. Its maps become what is fastest to search once nothing is added
/// any more; adding to that would move each host as often as others come.
#[derive(Default)]
pub(super) struct RouterBuilder<'t> {
    hosts: BTreeMap<(usize, &'t str), Tries>,
    any_host: Trie,
}

#[derive(Default)]
struct Tries {
    ports: BTreeMap<u16, Trie>,
    any_port: Trie,
}

impl<'t> RouterBuilder<'t> {
    /// Adds a template; no other of the same shape was added before.
    pub(super) fn insert(&mut self, template: &'t Template, spec: SpecId) {
        let trie = match &template.host {
            None => &mut self.any_host,
            Some(host) => {
                let tries = self.hosts.entry(by_len(&host.name)).or_default();
                match host.port {
                    None => &mut tries.any_port,
                    Some(port) => tries.ports.entry(port).or_default(),
                }
            }
        };
        trie.insert(&template.segments, template.method.as_ref(), spec);
    }

    pub(super) fn build(self) -> Router {
        let hosts = self.hosts.into_iter().map(|((_, name), tries)| Host {
            name: name.into(),
            ports: tries.ports.into_iter().collect(),
            any_port: tries.any_port,
        });
        Router {
            hosts: hosts.collect(),
            any_host: self.any_host,
        }
    }
}

impl Router {
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
        let host = &self.hosts[self.search(authority.host()).ok()?];
        let mut passed = Passed::Nothing;
        for wanted in authority.ports() {
            if let Ok(at) = host.ports.binary_search_by_key(&wanted, |&(port, _)| port) {
                if let Some(found) = host.ports[at].1.find(path, method, passed) {
                    return Some(found);
                }
                passed = Passed::Something;
            }
        }
        host.any_port.find(path, method, passed)
    }

    fn search(&self, name: &str) -> Result<usize, usize> {
        self.hosts
            .binary_search_by_key(&by_len(name), |host| by_len(&host.name))
    }
}

/// A key for look-ups: mostly decided by the length, before any byte is read.
fn by_len(name: &str) -> (usize, &str) {
    (name.len(), name)
}
