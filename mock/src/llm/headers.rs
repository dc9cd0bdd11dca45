use http::{HeaderMap, HeaderName, HeaderValue};

/// Sets a header whose value is one of the mock's own making.
pub(super) fn put(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    let value = HeaderValue::try_from(value);
    headers.insert(name, value.expect("the mock's ids and numbers are ASCII"));
}
