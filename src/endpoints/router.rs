//! Which template a request belongs to: the host decides first, then the [`Trie`].

use std::cmp::Ordering;

use http::Method;

use super::{
    SpecId,
    authority::Authority,
    head::RequestHead,
    template::Template,
    trie::{Passed, Trie},
};

#[derive(Debug, Default)]
pub(super) struct Router {
    /// Sorted by [`cmp_by_len`].
    hosts: Vec<Host>,
    /// The templates without a host.
    any_host: Trie,
}

#[derive(Debug)]
struct Host {
    name: Box<str>,
    /// The templates with a port, by port.
    ports: Vec<(u16, Trie)>,
    any_port: Trie,
}

impl Router {
    /// Adds a template; no other of the same shape was added before.
    pub(super) fn insert(&mut self, template: &Template, spec: SpecId) {
        let trie = match &template.host {
            None => &mut self.any_host,
            Some(host) => {
                let at = match self.search(&host.name) {
                    Ok(found) => found,
                    Err(place) => {
                        let new = Host {
                            name: host.name.clone(),
                            ports: Vec::new(),
                            any_port: Trie::default(),
                        };
                        self.hosts.insert(place, new);
                        place
                    }
                };
                self.hosts[at].trie(host.port)
            }
        };
        trie.insert(&template.segments, template.method.as_ref(), spec);
    }

    /// The best match for a request with this path, in the sense of [`Trie::find`].
    #[inline]
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
            if let Some((_, trie)) = host.ports.iter().find(|(port, _)| *port == wanted) {
                if let Some(found) = trie.find(path, method, passed) {
                    return Some(found);
                }
                passed = Passed::Something;
            }
        }
        host.any_port.find(path, method, passed)
    }

    fn search(&self, name: &str) -> Result<usize, usize> {
        self.hosts
            .binary_search_by(|host| cmp_by_len(host.name.as_bytes(), name.as_bytes()))
    }
}

impl Host {
    fn trie(&mut self, port: Option<u16>) -> &mut Trie {
        let Some(port) = port else {
            return &mut self.any_port;
        };
        let at = self
            .ports
            .iter()
            .position(|(of, _)| *of == port)
            .unwrap_or_else(|| {
                self.ports.push((port, Trie::default()));
                self.ports.len() - 1
            });
        &mut self.ports[at].1
    }
}

/// An order for look-ups: mostly decided by the length, before any byte is read.
fn cmp_by_len(a: &[u8], b: &[u8]) -> Ordering {
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}
