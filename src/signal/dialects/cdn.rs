//! What a content delivery network says for itself, and not for the API behind it: a page for people,
//! where the API answers with JSON. It has counted the requests of an address, whatever their paths.

use http::header;

use crate::signal::{
    dialect::{Dialect, Reading},
    headers,
    meaning::SignalScope,
};

pub(super) const CDN: Dialect = Dialect {
    scope,
    ..Dialect::NONE
};

/// As they stand in `Server`.
const NETWORKS: [&str; 6] = [
    "cloudflare",
    "cloudfront",
    "akamaighost",
    "imperva",
    "sucuri",
    "ddos-guard",
];

fn scope(reading: &Reading<'_>) -> Option<SignalScope> {
    let headers = reading.answer.headers();
    let mut servers = headers::texts(headers, &header::SERVER);
    let of_network = servers.any(|server| {
        let mut networks = NETWORKS.iter();
        networks.any(|network| {
            let start = server.get(..network.len());
            start.is_some_and(|start| start.eq_ignore_ascii_case(network))
        })
    });
    let mut types = headers::texts(headers, &header::CONTENT_TYPE);
    let body = reading.answer.body().trim_ascii_start();
    // "error code: 1015" is all that Cloudflare says to clients that take no HTML.
    let is_page = types.any(|of| of.trim_start().starts_with("text/html"))
        || body.starts_with(b"<")
        || body.starts_with(b"error code: 10");
    // The API behind it knows its own quota. Cloudflare can answer with JSON, too.
    let is_own = is_page && reading.blocking.is_none();
    let mut scalars = reading.text.scalars();
    let says_so = scalars.any(|of| of.name == "cloudflare_error" && of.text == "true");
    (of_network && (is_own || says_so)).then_some(SignalScope::Everything)
}
